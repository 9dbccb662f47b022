"""A library of short songs, scanned with a small model in this process."""

import hashlib
import json
import os
import pathlib

import numpy as np
import pytest
import soundfile

from genre_jax.data.audio import read_blocks
from genre_jax.inference.model import load
from genre_jax.library import database, tagging, tags, undo
from genre_jax.library.changes import Journal
from genre_jax.library.database import find_model
from genre_jax.library.label_names import read_names
from genre_jax.library.read_song import read_songs, stat_of
from genre_jax.library.scan import Report, Scan
from tests.inference.conftest import small_model, sound  # noqa: F401


class CallsHere:
  """Compute the calls of worker processes in this process."""

  def results(self, function, tasks, workers, seconds, then=lambda task, result: result):
    for task in tasks:
      yield then(task, function(*task))


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
  paths = scan.find(list(map(str, roots)))
  songs = read_songs(paths, model.frontend, CallsHere(), 1, 0.0, scan.with_new_analysis)
  for _ in scan.store(songs):
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


CLASSES = ("rock", "hiphop", "doom", "speech")


def add_song(db, path, **probabilities):
  """Add a file to a library as if a model had given it these probabilities; return its id."""
  path = pathlib.Path(path)
  db.execute(
    "INSERT OR IGNORE INTO model (id, hash, name, classes, task, used) VALUES (1, ?, 'fake', ?,"
    " 'single_label', 0)",
    ("0123456789abcdef", json.dumps(CLASSES)),
  )
  values = np.array([probabilities.get(name, 0.0) for name in CLASSES], np.float32)
  file = db.execute(
    "INSERT INTO file (path, size, mtime_ns, ctime_ns, inode, sound, seconds, tags, status, error)"
    " VALUES (?, ?, ?, ?, ?, ?, 1, ?, 'ok', '')",
    (os.fsencode(path), *stat_of(path), sound_hash(path), json.dumps(tags.describe(str(path)))),
  ).lastrowid
  db.execute(
    "INSERT INTO analysis (file, model, label, confidence, probabilities, embedding)"
    " VALUES (?, 1, ?, ?, ?, ?)",
    (file, CLASSES[int(values.argmax())], float(values.max()), values.tobytes(), b""),
  )
  return file


def sound_hash(path):
  """Return the hash of the decoded sound of a file."""
  digest = hashlib.sha256()
  for _ in read_blocks(str(path), 8000, notes=[], digest=digest):
    pass
  return digest.digest()


def content(path):
  """Return the SHA-256 of a file."""
  return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def tag(db, **options):
  """Write genres; return {file name: reason it was left out, or ''}."""
  options = tagging.Options(**{"names": read_names(), "min_confidence": 0.6, **options})
  decisions = list(tagging.decide(db, find_model(db), options))
  results = {pathlib.Path(d.path).name: d.reason for d in decisions}
  todo = [d for d in decisions if not d.reason]
  if todo:
    for decision, reason in tagging.write(db, todo, options, Journal(db, "tag", {})):
      results[pathlib.Path(decision.path).name] = reason
  return results


def undo_last(db, **options):
  """Undo the last batch; return {file name: reason it was not restored, or ''}."""
  changes = undo.find_changes(db, undo.find_batch(db))
  done = undo.undo(db, changes, Journal(db, "undo", {}), **options)
  return {pathlib.Path(change.path).name: reason for change, reason in done}
