"""The script run.sh from other folders: paths of arguments, links to it, hidden modules."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import AUDIO, ROOT


@pytest.fixture
def environment(tmp_path):
  """An environment for run.sh that is set up already and runs this interpreter."""
  venv = tmp_path / "venv"
  (venv / "bin").mkdir(parents=True)
  python = venv / "bin" / "python"
  python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
  python.chmod(0o755)
  requirements = (ROOT / "requirements.txt").read_bytes()
  sums = subprocess.run(["cksum"], input=requirements, capture_output=True, check=True).stdout
  (venv / f"installed-{'-'.join(sums.decode().split())}").touch()
  return {**os.environ, "GENRE_JAX_VENV": str(venv), "XDG_CACHE_HOME": str(tmp_path / "cache")}


@pytest.fixture
def caller(tmp_path):
  folder = tmp_path / "some where"
  folder.mkdir()
  shutil.copy(AUDIO, folder / "song.flac")
  return folder


def _run(caller, environment, *arguments, script=ROOT / "run.sh"):
  return subprocess.run(
    [script, *arguments], cwd=caller, env=environment, capture_output=True, text=True
  )


@pytest.mark.slow
def test_relative_paths_mean_the_folder_of_the_caller(caller, environment):
  before = set(os.listdir(ROOT))
  done = _run(caller, environment, "predict", "--format=csv", "--out=out/a.csv", "song.flac")
  assert done.returncode == 0, done.stderr
  assert (caller / "out" / "a.csv").read_text().splitlines()[1].startswith("song.flac,ok")
  assert set(os.listdir(ROOT)) == before


def test_links_and_modules_of_the_caller(caller, environment):
  (caller / "gj").symlink_to("more")
  (caller / "more").symlink_to(ROOT / "run.sh")
  for name in ("genre_jax", "json", "absl"):  # they must not hide those of the package
    (caller / name).mkdir()
    (caller / name / "__init__.py").write_text("raise RuntimeError\n")
  environment["CDPATH"] = "/tmp"
  done = _run(caller, environment, "--version", script=caller / "gj")
  assert done.returncode == 0 and done.stdout.startswith("genre_jax "), done.stderr


@pytest.mark.slow
def test_experiments_are_found_from_anywhere(caller, environment):
  done = _run(caller, environment, "main", "--config=experiments/tf_split.py", "--mode=summary")
  assert done.returncode == 0 and "split_cnn" in done.stdout, done.stderr


def test_the_exit_status_is_that_of_the_command(caller, environment):
  done = _run(caller, environment, "predict", "absent.mp3")
  assert done.returncode == 1 and "absent.mp3" in done.stdout
