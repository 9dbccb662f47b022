"""Small jobs, and one process that decodes for all tests of a module."""

import functools
import os

import pytest
import soundfile

from genre_jax.data.isolated_calls import IsolatedCalls
from genre_jax.distributed import job, manifest, pool
from genre_jax.inference import load, predict_files
from tests.inference.conftest import small_model, sound  # noqa: F401


@pytest.fixture(scope="module")
def model(small_model):  # noqa: F811
  """Return a loaded model with random weights."""
  return load(str(small_model))


@pytest.fixture(scope="module")
def calls():
  """Return processes that decode."""
  with IsolatedCalls(["genre_jax.inference.track_log_mel"]) as opened:
    yield opened


@pytest.fixture
def songs(tmp_path):
  """Return a folder of four short files."""
  (tmp_path / "songs" / "deep").mkdir(parents=True)
  for seed, name in enumerate(("a.wav", "b.flac", "deep/c.wav", "deep/d.wav")):
    soundfile.write(tmp_path / "songs" / name, sound(2 + seed / 10, seed=seed), 8000)
  return tmp_path / "songs"


@pytest.fixture
def run(model, calls, tmp_path):
  """Return a function that runs a job in tmp_path/work on files and folders."""
  engine = functools.partial(pool.predict_all, model=model, calls=calls, workers=1)

  def run_job(*paths, engine=engine, chosen=model, **settings):
    values = {"segments": None, "timeline": False, "min_confidence": 0.0, "partition_files": 2}
    return job.run(
      tmp_path / "work",
      manifest.settings_of(chosen, **values | settings),
      [(os.path.abspath(path), fault) for path, fault in predict_files.find_files(paths)],
      engine,
      file_seconds=60,
      num_failures=20,
    )

  run_job.engine = engine
  return run_job
