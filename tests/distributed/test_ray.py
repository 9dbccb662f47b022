"""Test jobs on a Ray cluster of two nodes: what is killed costs no row and doubles none."""

import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import soundfile

from genre_jax.distributed import job, manifest, partitions, ray_engine, ray_tasks, tries
from genre_jax.distributed.merge import merge
from genre_jax.errors import UserError
from genre_jax.inference import load, predict_files
from genre_jax.inference.model_dir import model_hash
from tests.inference.conftest import small_model, sound  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings


def _settings(model):
  return manifest.settings_of(
    model, segments=None, timeline=False, min_confidence=0.0, partition_files=2
  )


def _everywhere(small_model):  # noqa: F811
  return str(small_model), "", model_hash(load(str(small_model)))


def deadly(work, model, number, files):
  """Predict a partition, or end the process at the file `deadly.wav`; runs on the cluster."""
  from genre_jax.distributed import partitions, tries

  tries.MOST_TRIES = 1  # each try imports JAX
  predict_found = predict_files.predict_found

  def predict_or_die(files, *arguments, **keywords):
    if any(path.endswith("deadly.wav") for path, _ in files):
      os._exit(1)
    return predict_found(files, *arguments, **keywords)

  partitions.predict_found = predict_or_die
  return _real(work, model, number, files)


_real = ray_tasks.predict_task


def test_a_file_that_ends_ray_workers_costs_one_row(cluster, tmp_path, small_model, monkeypatch):  # noqa: F811
  monkeypatch.setattr(ray_tasks, "predict_task", deadly)
  files = [str(tmp_path / name) for name in ("a.wav", "deadly.wav", "e.wav")]
  for path in files:
    soundfile.write(path, sound(2), 8000)
  engine = functools.partial(
    ray_tasks.predict_all, model=_everywhere(small_model), address=cluster.address
  )
  summary = job.run(
    tmp_path / "work",
    _settings(load(str(small_model))),
    [(path, "") for path in files],
    engine,
    file_seconds=60,
    num_failures=20,
  )
  assert summary.files == 3 and summary.partitions == 2 and summary.failed == 1
  ((file, reason),) = summary.failures
  assert file.endswith("deadly.wav") and "ended the process" in reason


def test_an_address_without_a_cluster_is_named():
  pytest.importorskip("ray", reason="needs Ray: pip install 'genre-jax[ray]'")
  for address, words in (
    ("127.0.0.1:1", "no Ray cluster can be used there .Connection refused"),
    ("127.0.0.1:99999", "no Ray cluster can be used there"),
    ("ray://host:1", "give auto, local or HOST:PORT"),
    ("host", "give auto, local or HOST:PORT"),
  ):
    with pytest.raises(UserError, match=f"--address={address}: {words}"):
      with ray_engine.cluster(address):
        pass


def failing(error):
  """Fail; runs on the cluster."""
  if error:
    raise ValueError(error)
  import absent_module  # noqa: F401


def test_a_failed_task_is_one_line(cluster):
  with ray_engine.cluster(cluster.address) as ray:
    for error, words in (
      ("of disk\nand more", "a task failed (ValueError: of disk); finished partitions are kept"),
      ("", "a machine cannot import absent_module: install genre_jax with the same extras"),
    ):
      with pytest.raises(UserError) as raised:
        list(ray_engine.map_partitions(ray, failing, (error,), [()]))
      assert words in str(raised.value) and len(str(raised.value).splitlines()) == 1


def endless(work, model, number, files):
  """Note the beginning of a try, and do not end it; runs on the cluster."""
  tries.Tries(work.directory / "tries" / "000000").begin(number)
  time.sleep(600)


def test_an_interrupted_command_is_no_try(cluster, tmp_path, monkeypatch):
  monkeypatch.setattr(ray_tasks, "predict_task", endless)
  notes = tmp_path / "tries" / "000000"
  notes.parent.mkdir()

  def interrupt():
    while not notes.exists() or notes.read_text() != "start\n0\n":
      time.sleep(0.05)
    signal.raise_signal(signal.SIGINT)

  work = partitions.Work(tmp_path, None, "", 0.0)
  threading.Thread(target=interrupt, daemon=True).start()
  with pytest.raises(KeyboardInterrupt):
    list(ray_tasks.predict_all(work, [(0, [])], model=("", "", ""), address=cluster.address))
  assert not notes.exists()


def test_a_killed_node_and_a_killed_driver(cluster, second_node, tmp_path, small_model):  # noqa: F811
  songs = tmp_path / "songs"
  songs.mkdir()
  for seed in range(50):
    soundfile.write(songs / f"{seed}.wav", sound(10, seed=seed), 8000)
  (songs / "bad.wav").write_text("words")
  command = [sys.executable, "-m", "genre_jax.job", "predict", "work", "songs"]
  command += ["--engine=ray", f"--address={cluster.address}", f"--model={small_model}"]
  command += ["--partition_files=2"]
  finished = tmp_path / "work" / "partitions"

  def wait_for(number, driver):
    while not finished.exists() or len(list(finished.glob("*.jsonl"))) < number:
      assert driver.poll() is None
      time.sleep(0.02)

  driver = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
  wait_for(2, driver)
  cluster.remove_node(second_node, allow_graceful=False)
  wait_for(5, driver)
  driver.send_signal(signal.SIGKILL)
  driver.wait()
  before = len(list(finished.glob("*.jsonl")))
  assert 5 <= before < 26
  done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
  assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
  assert "51 files in 26 partitions (" in done.stderr and "50 predicted, 1 failed" in done.stderr

  merge(tmp_path / "work", tmp_path / "a.jsonl", num_failures=0)
  rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
  expected = {a.file: a for a in predict_files.predict(songs, str(small_model), workers=1)}
  assert len(rows) == 51 and {row["file"] for row in rows} == set(expected)
  for row in rows:
    for name, value in expected[row["file"]].probabilities.items():
      assert abs(row[f"p_{name}"] - value) <= 1e-6
