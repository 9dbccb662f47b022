"""A library of short songs, scanned with a small model in this process."""

import pathlib

import numpy as np
import pytest
import soundfile

from genre_jax.inference.model import load
from genre_jax.library import database
from genre_jax.library.scan import Report, Scan
from tests.inference.conftest import small_model, sound  # noqa: F401


class CallsHere:
  """Compute the calls of worker processes in this process."""

  def results(self, function, tasks, workers, seconds):
    for task in tasks:
      yield function(*task)


@pytest.fixture(scope="session")
def model(small_model):  # noqa: F811
  """Return the loaded small model."""
  return load(str(small_model))


@pytest.fixture
def db(tmp_path):
  """Return a new library."""
  db = database.open_database(tmp_path / "library.db", create=True)
  yield db
  db.close()


def scan(db, model, *roots, **options):
  """Scan folders; return the counts and the failures."""
  report = Report()
  scan = Scan(db, model, report, **options)
  for _ in scan.read(scan.find(list(map(str, roots))), CallsHere(), 1, 0.0):
    pass
  scan.mark_missing()
  return dict(report.counts), report.failures


def write_songs(folder, count, seconds=1.5, rate=8000, first=0):
  """Write FLAC files of different sounds; return their paths."""
  folder.mkdir(parents=True, exist_ok=True)
  paths = []
  for number in range(first, first + count):
    paths.append(folder / f"{number:03d}.flac")
    soundfile.write(paths[-1], sound(seconds, rate, number), rate)
  return paths


def stereo(seconds=1.0, rate=44100, seed=0):
  """Return float32[2, samples]."""
  mono = sound(seconds, rate, seed)
  return np.stack([mono, mono[::-1]])


def rows(db, columns="path, sound, status, error, missing_since", table="file"):
  """Return the rows of a table in the order of their paths."""
  return db.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()


def path_of(value: bytes) -> pathlib.Path:
  """Return a path of the library."""
  return pathlib.Path(value.decode())
