"""Test scans: what is analyzed again, moves, missing files, failures, interruption."""

import json
import os
import shutil
import sqlite3

import mutagen.flac
import numpy as np
import pytest
import soundfile

from genre_jax.errors import UserError
from genre_jax.inference.model import load
from genre_jax.library import database
from genre_jax.library import scan as scan_module
from tests.inference.conftest import sound, write_small_model
from tests.library.conftest import rows, scan, stereo, tag, undo_last, write_songs


def test_unchanged_files_are_skipped_and_new_ones_analyzed(tmp_path, db, model):
  music = tmp_path / "music"
  write_songs(music, 3)
  (music / "notes.txt").write_text("no music")
  assert scan(db, model, music) == ({"analyzed": 3}, [])
  assert scan(db, model, music) == ({"unchanged": 3}, [])
  write_songs(music, 1, first=7)
  assert scan(db, model, music) == ({"unchanged": 3, "analyzed": 1}, [])
  (row,) = db.execute("SELECT tags, seconds FROM file LIMIT 1").fetchall()
  assert '"genres": {}' in row[0] and row[1] == pytest.approx(1.5)
  label, confidence, probabilities, embedding = db.execute(
    "SELECT label, confidence, probabilities, embedding FROM analysis LIMIT 1"
  ).fetchone()
  probabilities = np.frombuffer(probabilities, np.float32)
  assert label == model.classes[int(probabilities.argmax())]
  assert confidence == pytest.approx(probabilities.max())
  assert len(np.frombuffer(embedding, np.float16)) == 128


def test_a_renamed_folder_is_not_analyzed_again(tmp_path, db, model):
  write_songs(tmp_path / "music" / "old", 100, seconds=0.7)
  assert scan(db, model, tmp_path / "music")[0] == {"analyzed": 100}
  ids = rows(db, "id, sound")
  os.rename(tmp_path / "music" / "old", tmp_path / "music" / "new")
  assert scan(db, model, tmp_path / "music") == ({"moved": 100}, [])
  assert rows(db, "id, sound") == ids
  assert all(b"/new/" in path for path, *_ in rows(db))
  assert scan(db, model, tmp_path / "music")[0] == {"unchanged": 100}


def test_a_file_that_was_copied_elsewhere_is_a_move_by_its_sound(tmp_path, db, model):
  (song,) = write_songs(tmp_path / "a", 1)
  scan(db, model, tmp_path / "a")
  (tmp_path / "b").mkdir()
  shutil.copyfile(song, tmp_path / "b" / "song.flac")
  assert scan(db, model, tmp_path / "b")[0] == {"copied": 1}  # the first one is still there
  assert db.execute("SELECT COUNT(*) FROM analysis").fetchone() == (2,)
  for path in (song, tmp_path / "b" / "song.flac"):
    shutil.copyfile(path, tmp_path / f"{path.parent.name}.flac")
    path.unlink()
  assert scan(db, model, tmp_path)[0] == {"moved": 2}
  assert db.execute("SELECT COUNT(*) FROM file").fetchone() == (2,)


def test_only_other_sound_is_analyzed_again(tmp_path, db, model):
  first, second, third = write_songs(tmp_path / "music", 3)
  scan(db, model, tmp_path / "music")
  tags = mutagen.flac.FLAC(first)
  tags["genre"], tags["artist"] = ["Rock"], ["Someone"]
  tags.save()
  soundfile.write(second, sound(2, 8000, 9), 8000)
  os.utime(third)
  counts, _ = scan(db, model, tmp_path / "music")
  assert counts == {"tags read again": 2, "analyzed": 1}
  (text,) = db.execute("SELECT tags FROM file WHERE path = ?", (os.fsencode(first),)).fetchone()
  assert '"Vorbis comment": ["Rock"]' in text and '"artist": "Someone"' in text


def test_the_network_does_not_run_for_known_sound(tmp_path, db, model, monkeypatch):
  (song,) = write_songs(tmp_path / "a", 1)
  scan(db, model, tmp_path / "a")
  os.utime(song)
  (tmp_path / "b").mkdir()
  shutil.copyfile(song, tmp_path / "b" / "song.flac")
  monkeypatch.setattr(scan_module, "with_analysis", None)
  assert scan(db, model, tmp_path)[0] == {"tags read again": 1, "copied": 1}


def test_an_encoding_without_loss_has_the_same_sound(tmp_path, db, model):
  audio = stereo()
  soundfile.write(tmp_path / "a.flac", audio.T, 44100, subtype="PCM_16")
  samples, rate = soundfile.read(tmp_path / "a.flac", dtype="int16")
  soundfile.write(tmp_path / "b.wav", samples, rate)
  assert scan(db, model, tmp_path)[0] == {"analyzed": 1, "copied": 1}


def test_missing_files_are_marked_and_return(tmp_path, db, model):
  music = tmp_path / "music"
  first, *_ = write_songs(music, 3)
  scan(db, model, music)
  os.rename(first, tmp_path / "away")
  assert scan(db, model, music)[0] == {"unchanged": 2, "missing": 1}
  assert scan(db, model, music)[0] == {"unchanged": 2}  # marked already
  assert [row[4] is None for row in rows(db)] == [False, True, True]
  os.rename(tmp_path / "away", first)
  os.utime(first)
  assert scan(db, model, music)[0] == {"unchanged": 2, "tags read again": 1}
  assert all(row[4] is None for row in rows(db))


@pytest.mark.parametrize("state", ["absent", "empty", "other files"])
def test_nothing_is_missing_in_a_folder_that_may_not_be_mounted(tmp_path, db, model, state):
  music = tmp_path / "music"
  write_songs(music, 3)
  scan(db, model, music)
  os.rename(music, tmp_path / "away")
  if state != "absent":
    music.mkdir()
  if state == "other files":
    (music / "readme.txt").write_text("This folder is a mount point.")
  counts, failures = scan(db, model, music)
  assert counts == {} and [path for path, _ in failures] == [str(music)]
  assert all(row[4] is None for row in rows(db))


def test_nothing_is_missing_in_a_folder_that_cannot_be_listed(tmp_path, db, model, monkeypatch):
  music = tmp_path / "music"
  write_songs(music / "a", 1)
  write_songs(music / "b", 1, first=1)
  scan(db, model, music)
  real, denied = os.scandir, str(music / "b")

  def scandir(path):
    if path == denied:
      raise PermissionError(13, "Permission denied", path)
    return real(path)

  monkeypatch.setattr(os, "scandir", scandir)
  (music / "b" / "001.flac").unlink()
  counts, failures = scan(db, model, music)
  assert counts == {"unchanged": 1} and failures == [
    (denied, "cannot be listed: Permission denied")
  ]


def test_failures_have_reasons_and_are_not_read_again(tmp_path, db, model):
  music = tmp_path / "music"
  write_songs(music, 1)
  (music / "bad.mp3").write_text("words")
  soundfile.write(music / "silent.wav", np.zeros(8000), 8000)
  os.mkfifo(music / "zz.mp3")
  counts, failures = scan(db, model, music)
  assert counts == {"analyzed": 1, "failed": 3} and failures.pop()[1] == "is not a file"
  (music / "zz.mp3").unlink()
  db.execute("DELETE FROM file WHERE error = 'is not a file'")
  assert "not audio" in failures[0][1] and "silent" in failures[1][1]
  assert scan(db, model, music) == ({"unchanged": 1, "failed before": 2}, [])
  assert scan(db, model, music, retry=True)[0] == {"unchanged": 1, "failed": 2}
  soundfile.write(music / "silent.wav", sound(1), 8000)
  assert scan(db, model, music)[0] == {"unchanged": 1, "failed before": 1, "analyzed": 1}


@pytest.mark.slow
def test_a_second_model_adds_and_removes_nothing(tmp_path, db, model):
  write_songs(tmp_path / "music", 2)
  scan(db, model, tmp_path / "music")
  before = rows(db, "*", "analysis")
  other = load(str(write_small_model(tmp_path, "other", classes=("x", "y"))))
  assert scan(db, other, tmp_path / "music")[0] == {"analyzed": 2}
  assert len(rows(db, "*", "analysis")) == 4 and set(before) < set(rows(db, "*", "analysis"))
  assert database.find_model(db)["name"] == "other"
  assert database.find_model(db, "small")["classes"] == list(model.classes)
  with pytest.raises(UserError, match="did you mean small"):
    database.find_model(db, "smal")
  assert scan(db, model, tmp_path / "music")[0] == {"unchanged": 2}


def test_a_tagged_file_is_not_analyzed_again(tmp_path, db, model):
  songs = write_songs(tmp_path, 2)
  scan(db, model, tmp_path)
  assert set(tag(db, min_confidence=0).values()) == {""}
  assert scan(db, model, tmp_path)[0] == {"unchanged": 2}
  (text,) = db.execute("SELECT tags FROM file WHERE path = ?", (os.fsencode(songs[0]),)).fetchone()
  assert json.loads(text)["provenance"]
  undo_last(db)
  assert scan(db, model, tmp_path)[0] == {"unchanged": 2}


def test_names_that_are_not_text(tmp_path, db, model):
  folder = os.fsencode(tmp_path) + b"/music \xff"
  os.mkdir(folder)
  soundfile.write(folder + b"/\xfe\n.wav", sound(1), 8000)
  assert scan(db, model, os.fsdecode(folder))[0] == {"analyzed": 1}
  assert rows(db, "path") == [(folder + b"/\xfe\n.wav",)]


@pytest.mark.parametrize("content", [b"words", b""])
def test_a_file_that_is_not_a_library(tmp_path, content):
  place = tmp_path / "library.db"
  place.write_bytes(content * 1000)
  with pytest.raises(UserError, match="library.db" if content else "there is no library"):
    database.open_database(place)
  assert place.read_bytes() == content * 1000
  other = tmp_path / "other.db"
  with sqlite3.connect(other) as db:
    db.execute("CREATE TABLE x (y)")
  db.close()
  with pytest.raises(UserError, match="another program"):
    database.open_database(other)
  with pytest.raises(UserError, match="library scan"):
    database.open_database(tmp_path / "absent.db")


def _error(place):
  with pytest.raises(UserError) as error:
    database.open_database(place)
  return str(error.value)


def test_what_to_do_about_a_database(tmp_path, db):
  place = tmp_path / "copy.db"
  place.write_bytes(b"words" * 1000)
  assert _error(place).endswith("file is not a database; give another file")
  with sqlite3.connect(tmp_path / "other.db") as other:
    other.execute("PRAGMA user_version = 7")
  other.close()
  assert _error(tmp_path / "other.db").endswith("update genre_jax, or give another file")
  with pytest.raises(sqlite3.Error) as error:
    db.execute("PRAGMA query_only = ON")
    db.execute("DELETE FROM file")
  assert "make the file and its folder writable" in str(database.fault(place, error.value))
  db.execute("PRAGMA query_only = OFF")
  db.execute("PRAGMA max_page_count = 1")
  with pytest.raises(sqlite3.Error, match="full") as error, database.transaction(db):
    for number in range(1000):  # after this error SQLite has ended the transaction
      db.execute("INSERT INTO batch VALUES (?, 'tag', 0, 0, ?)", (number, "x" * 10_000))
  assert "free disk space" in str(database.fault(place, error.value))
