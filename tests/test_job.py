"""Test the command `job`: what the user sees, mistakes, and how it resumes after it was killed."""

import os
import signal
import subprocess
import sys
import time

import pytest
import soundfile

from tests.conftest import ROOT
from tests.inference.conftest import small_model, sound  # noqa: F401


def _command(*arguments):
  return [sys.executable, "-m", "genre_jax.job", *map(str, arguments)]


def _job(place, *arguments, **environment):
  return subprocess.run(
    _command(*arguments),
    cwd=place,
    capture_output=True,
    text=True,
    env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
  )


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    ([], "give a command: predict, merge"),
    (["predcit", "work"], "did you mean predict?"),
    (["predict"], "give the folder of the job"),
    (["predict", "work", "-"], "a job cannot read standard input"),
    (["predict", "work", "x", "--address=local"], "--address needs --engine=ray"),
    (["predict", "work", "x", "--engine=ray", "--workers=2"], "--workers needs --engine=pool"),
    (["predict", "work", "x", "--partition_files=0"], "--partition_files"),
    (["merge", "work"], "--out is missing"),
    (["merge", "work", "x", "--out=a.csv"], "unexpected argument 'x'"),
  ],
)
def test_mistakes(tmp_path, arguments, words):
  done = _job(tmp_path, *arguments)
  assert done.returncode == 2 and words in done.stderr
  assert len(done.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_ray_that_is_not_installed_is_named(tmp_path):
  (tmp_path / "ray.py").write_text("raise ImportError")
  done = _job(tmp_path, "predict", "work", "x", "--engine=ray", PYTHONPATH=f"{tmp_path}:{ROOT}")
  assert done.returncode == 2
  assert done.stderr == "error: --engine=ray needs ray: pip install 'genre-jax[ray]'\n"
  assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_a_killed_job_resumes(tmp_path, small_model):  # noqa: F811
  (tmp_path / "songs").mkdir()
  soundfile.write(tmp_path / "songs" / "0.wav", sound(100), 8000)
  for number in range(1, 60):
    os.link(tmp_path / "songs" / "0.wav", tmp_path / "songs" / f"{number}.wav")
  (tmp_path / "songs" / "bad.wav").write_text("words")
  (tmp_path / "songs" / "notes.txt").write_text("words")
  arguments = "predict", "work", "songs", "--partition_files=2", f"--model={small_model}"
  finished = tmp_path / "work" / "partitions"
  for number, status in (
    (signal.SIGTERM, 128 + signal.SIGTERM),
    (signal.SIGKILL, -signal.SIGKILL),
  ):
    before = len(list(finished.glob("*.jsonl"))) if finished.exists() else 0
    child = subprocess.Popen(
      _command(*arguments),
      cwd=tmp_path,
      stderr=subprocess.DEVNULL,
      env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    while not finished.exists() or len(list(finished.glob("*.jsonl"))) < before + 2:
      assert child.poll() is None
      time.sleep(0.005)
    child.send_signal(number)
    assert child.wait() == status
  assert len(list(finished.glob("*.jsonl"))) < 31
  done = _job(tmp_path, *arguments)
  assert done.returncode == 1 and "Traceback" not in done.stderr
  assert "61 files in 31 partitions (" in done.stderr and "60 predicted, 1 failed" in done.stderr
  assert "songs/bad.wav: cannot be decoded" in done.stderr and "passed over" in done.stderr
  done = _job(tmp_path, "merge", "work", "--out=a.csv")
  assert done.returncode == 0 and "61 files in a.csv: 60 predicted, 1 failed" in done.stderr
  assert (tmp_path / "a.csv").read_text().count("\n") == 62
