"""Test a file that cannot be read for a time: nothing that is known of it gets lost."""

import os

import soundfile

from genre_jax.library import read_song as read_module
from genre_jax.library import scan as scan_module
from genre_jax.library.database import find_model
from genre_jax.library.embeddings import Embeddings
from genre_jax.library.read_song import Song, stat_of
from tests.inference.conftest import sound
from tests.library.conftest import rows, scan, write_songs


def test_a_file_that_cannot_be_read_for_a_time_keeps_its_analysis(tmp_path, db, model, monkeypatch):
  songs = write_songs(tmp_path, 2)
  scan(db, model, tmp_path)
  before = rows(db, "path, sound, seconds, tags"), rows(db, "*", "analysis")
  fault = "cannot be read: Input/output error"

  def fail(path, *_):
    return Song(stat_of(path), {"unreadable": fault}, fault, None)

  os.utime(songs[0])
  with monkeypatch.context() as patch:
    patch.setattr(read_module, "read_song", fail)
    assert scan(db, model, tmp_path) == (
      {"failed": 1, "unchanged": 1},
      [(str(songs[0]), fault)],
    )
  assert (rows(db, "path, sound, seconds, tags"), rows(db, "*", "analysis")) == before
  assert rows(db, "status, error") == [("failed", fault), ("ok", "")]
  assert len(Embeddings(db, find_model(db))) == 1  # what cannot be played is not proposed
  monkeypatch.setattr(scan_module, "analyze", None)  # it is not analyzed again
  assert scan(db, model, tmp_path, retry=True)[0] == {"tags read again": 1, "unchanged": 1}
  assert rows(db, "status, error") == [("ok", ""), ("ok", "")]
  soundfile.write(songs[0], sound(1, 8000, 9), 8000)
  monkeypatch.undo()
  assert scan(db, model, tmp_path)[0] == {"analyzed": 1, "unchanged": 1}
