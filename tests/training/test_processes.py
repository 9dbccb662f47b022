"""Test training by two processes: the same results as one, losses of a process, mistakes."""

import itertools
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import jax
import pytest

from genre_jax.errors import UserError
from genre_jax.training import processes, workdir
from tests.training.tiny_runs import command, curves, environment, write_experiment

pytestmark = pytest.mark.slow
# The order of additions depends on how an operation is shared by threads. XLA takes their number
# from the cores of the machine, or from NPROC, but never less than the devices of the process.
ONE_THREAD = {
  "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_cpu_multi_thread_eigen=false",
  "NPROC": "2",
}
TWO_DEVICES = {
  **ONE_THREAD,
  "XLA_FLAGS": f"{ONE_THREAD['XLA_FLAGS']} --xla_force_host_platform_device_count=2",
}
EPOCHS = "--config.train.epochs=13"  # 52 steps
RESULTS = ("eval/valid.csv", "eval/test.csv", "eval/test.json")


def launch(place, *arguments, restarts=0):
  return subprocess.Popen(
    [
      *(sys.executable, "-m", "genre_jax", "launch"),
      *("--processes=2", f"--restarts={restarts}", "main", "--config=tiny.py"),
      *(EPOCHS, *arguments),
    ],
    cwd=place,
    env=environment(**ONE_THREAD),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def end(process, status=0):
  """Wait for a command, check its exit status, and return its output."""
  out, errors = process.communicate(timeout=240)
  assert process.returncode == status and "Traceback" not in errors, out + errors
  return out + errors


def one(place, workdir, **more):
  done = subprocess.run(
    command(EPOCHS, f"--workdir={workdir}"),
    cwd=place,
    env=environment(**more),
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


def wait_for(path, lines, launched):
  deadline = time.monotonic() + 120
  while not (path.exists() and len(path.read_text().splitlines()) >= lines):
    assert time.monotonic() < deadline and launched.poll() is None, launched.communicate()
    time.sleep(0.01)


def children(process):
  text = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
  return list(map(int, text.split()))


def assert_same(run, other):
  assert curves(run) == curves(other)
  assert_same_results(run, other)


def assert_same_results(run, other):
  for name in RESULTS:
    assert (run / name).read_bytes() == (other / name).read_bytes(), name


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """Return a folder with a run `whole` of one process with two devices."""
  folder = tmp_path_factory.mktemp("processes")
  write_experiment(folder)
  one(folder, "whole", **TWO_DEVICES)
  return folder


def test_two_processes_equal_one(place):
  output = end(launch(place, "--workdir=two"))
  assert output.count("track accuracy") == 2  # of two splits: process 0 prints
  assert_same(place / "two", place / "whole")
  one(place, "one")
  for a, b in zip(curves(place / "two"), curves(place / "one"), strict=True):
    assert a["train/loss"] == pytest.approx(b["train/loss"], rel=1e-5)


def test_killed_processes_start_again_and_a_signal_to_one_stops_all(place):
  process = launch(place, "--workdir=killed", restarts=2)
  metrics = place / "killed" / "metrics.jsonl"
  for lines, victim in ((2, 1), (4, 0)):
    wait_for(metrics, lines, process)
    before = children(process)
    os.kill(before[victim], signal.SIGKILL)
    deadline = time.monotonic() + 25
    while process.poll() is None and set(children(process)) & set(before):
      assert time.monotonic() < deadline
      time.sleep(0.05)
  wait_for(metrics, 6, process)
  os.kill(children(process)[1], signal.SIGTERM)
  out = end(process, 128 + signal.SIGTERM)
  assert "process 1 of 2 ended with SIGKILL; all start again, 2 more times at most" in out
  assert "process 0 of 2 ended with SIGKILL; all start again, 1 more times at most" in out
  # When process 0 dies, JAX may end the other one before Python notices.
  assert 1 <= out.count("another process was lost") <= 2
  assert out.count("the same command resumes") == 2
  assert "resuming at step" in one(place, "killed", **TWO_DEVICES)
  # After a signal in the middle of an epoch, train/loss is the mean of the steps since.
  assert curves(place / "killed")[:5] == curves(place / "whole")[:5]
  assert_same_results(place / "killed", place / "whole")


def test_a_damaged_checkpoint(place):
  shutil.copytree(place / "whole", place / "damaged")
  checkpoints = place / "damaged" / "checkpoints"
  newest = max((path for path in checkpoints.iterdir() if path.name.isdigit()), key=step_of)
  for file in itertools.chain(newest.glob("state/**/d/*"), newest.glob("state/**/manifest*")):
    file.write_bytes(b"x")
  out = end(launch(place, "--workdir=damaged"))
  assert out.count("cannot be read") == 1 and f"renamed to {newest.name}.damaged" in out
  assert_same(place / "damaged", place / "whole")


def step_of(path):
  return int(path.name)


def test_a_mistake_ends_both_processes(tmp_path):
  write_experiment(tmp_path)
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
  connect = [f"--coordinator=127.0.0.1:{port}", "--processes=2", "--workdir=wrong"]
  started = [
    subprocess.Popen(
      command(*connect, f"--process={index}", *more),
      cwd=tmp_path,
      env=environment(),
      stderr=subprocess.PIPE,
      text=True,
    )
    for index, more in enumerate(([], ["--config.optimizer.learning_rate=0.5"]))
  ]
  for process in started:
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2 and errors.count("error:") == 1, errors
    assert "config.optimizer.learning_rate is 0.002, 0.5" in errors


def test_a_machine_whose_name_has_no_address(monkeypatch):
  def no_devices():
    raise RuntimeError("[enforce fail at gloo/transport/tcp/device.cc:99] rv == 0. -2 vs 0")

  monkeypatch.setattr(jax.distributed, "initialize", lambda **_: None)
  monkeypatch.setattr(jax, "devices", no_devices)
  monkeypatch.setattr(socket, "gethostname", lambda: "nowhere.invalid")
  with pytest.raises(UserError, match=r"nowhere\.invalid, has no address: add it to /etc/hosts"):
    processes.connect("127.0.0.1:1", 2, 0)


def test_a_run_folder_that_is_not_shared(tmp_path, monkeypatch):
  monkeypatch.setattr(workdir, "SHARED_SECONDS", 0.3)
  with pytest.raises(UserError, match=r"lacks the config\.json .* that all machines share"):
    workdir.check_shared(tmp_path)
  later = threading.Timer(0.1, (tmp_path / "config.json").touch)
  later.start()
  workdir.check_shared(tmp_path)
  later.join()


@pytest.mark.parametrize(
  "arguments, words",
  [
    (["main", "--processes=2"], "need --coordinator"),
    (["main", "--coordinator=x", "--processes=2"], "give HOST:PORT"),
    (["main", "--coordinator=h:1", "--processes=2", "--process=2"], "its index, from 0"),
    (["launch", "train"], "give the command to start"),
  ],
)
def test_mistakes_in_flags(tmp_path, arguments, words):
  write_experiment(tmp_path)
  flags = ["--config=tiny.py"] if arguments[0] == "main" else []
  done = subprocess.run(
    [sys.executable, "-m", "genre_jax", *arguments, *flags],
    cwd=tmp_path,
    env=environment(),
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2 and words in done.stderr, done.stderr
