"""Train with two processes in two network namespaces, cut the link between them, and resume.

    PYTHONPATH=. python tools/cut_link.py [SECONDS]

Needs root and the program ip. The namespaces stand for two machines with one shared disk. The link
is cut in the middle of a small training, for SECONDS (20 by default), or until both have ended.
Prints how and when each process ends. Then the same command, without a cut, must end the run, with
the predictions of a run that was never interrupted.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from tests.training.tiny_runs import command, environment, write_experiment

HOSTS = ("genre-jax-a", "genre-jax-b")
ADDRESSES = ("10.213.0.1", "10.213.0.2")
COORDINATOR = f"--coordinator={ADDRESSES[0]}:12345"
EPOCHS = "--config.train.epochs=60"
RESULTS = ("eval/valid.csv", "eval/test.csv")
LINES_BEFORE = 5  # of metrics.jsonl, before the cut
LONGEST = 120  # s until the processes must have ended


def ip(*arguments: str) -> None:
  """Run the program ip."""
  subprocess.run(["ip", *arguments], check=True)


def set_link(state: str) -> None:
  """Set the link between the namespaces 'up' or 'down'."""
  ip("-n", HOSTS[0], "link", "set", HOSTS[0], state)


def connect() -> None:
  """Make two namespaces that reach each other."""
  ip("link", "add", HOSTS[0], "type", "veth", "peer", "name", HOSTS[1])
  for host, address in zip(HOSTS, ADDRESSES, strict=True):
    ip("netns", "add", host)
    ip("link", "set", host, "netns", host)
    ip("-n", host, "addr", "add", f"{address}/24", "dev", host)
    ip("-n", host, "link", "set", host, "up")
    ip("-n", host, "link", "set", "lo", "up")
    # The name of a machine has the address at which others reach it.
    own = pathlib.Path("/etc/netns", host)
    own.mkdir(parents=True, exist_ok=True)
    names = f"127.0.0.1 localhost\n{address} {host}\n"
    (own / "hosts").write_text(names)


def disconnect() -> None:
  """Delete what `connect` made."""
  for host in HOSTS:
    subprocess.run(["ip", "netns", "delete", host], check=False)
    shutil.rmtree(pathlib.Path("/etc/netns", host), ignore_errors=True)


def start(folder: pathlib.Path, workdir: str) -> list[subprocess.Popen]:
  """Start a process in each namespace, whose host name is that of the namespace."""
  started = []
  for index, host in enumerate(HOSTS):
    flags = (COORDINATOR, "--processes=2", f"--process={index}", f"--workdir={workdir}", EPOCHS)
    named = ["unshare", "--uts", "sh", "-c", f'hostname {host}; exec "$@"', "sh", *command(*flags)]
    started.append(
      subprocess.Popen(
        ["ip", "netns", "exec", host, *named],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
      )
    )
  return started


def finish(folder: pathlib.Path, workdir: str) -> None:
  """Run both processes to their end."""
  for index, process in enumerate(start(folder, workdir)):
    output, _ = process.communicate()
    if process.returncode:
      raise SystemExit(f"process {index} ended with {process.returncode}:\n{output}")


def cut_in_the_middle(folder: pathlib.Path, seconds: float) -> None:
  """Cut the link of a run for some seconds, and print how its processes end."""
  processes = start(folder, "cut")
  metrics = folder / "cut" / "metrics.jsonl"
  while not metrics.exists() or len(metrics.read_text().splitlines()) < LINES_BEFORE:
    early = [process for process in processes if process.poll() is not None]
    if early:
      for process in processes:
        process.kill()
      raise SystemExit("a process ended before the cut:\n" + early[0].communicate()[0])
    time.sleep(0.05)
  set_link("down")
  begin, ended, cut = time.monotonic(), {}, True
  while len(ended) < 2 and time.monotonic() - begin < LONGEST:
    if cut and time.monotonic() - begin > seconds:
      set_link("up")
      cut = False
    for index, process in enumerate(processes):
      if process.poll() is not None and index not in ended:
        ended[index] = time.monotonic() - begin
    time.sleep(0.05)
  set_link("up")
  for index, process in enumerate(processes):
    process.kill()
    output, _ = process.communicate()
    when = f"{ended[index]:.1f} s after the cut" if index in ended else "not by itself"
    print(f"process {index}: status {process.returncode}, {when}")
    told = [line for line in output.splitlines() if "heartbeat" in line or "error:" in line]
    print("".join(f"  {line[:160]}\n" for line in told[:2]), end="")


def main() -> int:
  """Run all, and return 0 if the predictions are the same."""
  seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    write_experiment(folder)
    try:
      connect()
      cut_in_the_middle(folder, seconds)
      finish(folder, "cut")
      finish(folder, "whole")
    finally:
      disconnect()
    same = all(
      (folder / "cut" / x).read_bytes() == (folder / "whole" / x).read_bytes() for x in RESULTS
    )
  print(f"predictions after the same command again: {'the same' if same else 'different'}")
  return not same


if __name__ == "__main__":
  sys.exit(main())
