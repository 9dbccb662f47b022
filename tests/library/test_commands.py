"""Test the commands as processes: what they print, kills and interruptions."""

import contextlib
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from genre_jax.inference.output_lock import OutputLock
from tests.conftest import ROOT
from tests.library.conftest import content, write_songs


def _library(place, *arguments, **options):
  environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_DATA_HOME": str(place)}
  return subprocess.Popen(
    [sys.executable, "-m", "genre_jax", "library", *map(str, arguments)],
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    **options,
  )


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["scan", "x", "--address=local"], "--address needs --engine=ray: leave it out"),
    (["scan", "x", "--partition_files=9"], "--partition_files needs --engine=ray: leave it out"),
    (["scan", "x", "--engine=ray", "--workers=2"], "--workers needs --engine=pool: leave it out"),
    (["status", "--engine=ray"], "library status does not take --engine"),
  ],
)
def test_mistakes_about_the_engine(tmp_path, arguments, words):
  process = _library(tmp_path, *arguments)
  _, errors = process.communicate()
  assert process.returncode == 2 and words in errors and len(errors.splitlines()) == 1
  assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_killed_scan_resumes(tmp_path, small_model):
  music = tmp_path / "music"
  write_songs(music, 331, seconds=1.0)
  whole, killed = tmp_path / "whole", tmp_path / "killed"
  scan = ("scan", music, f"--model={small_model}", "--workers=1")
  process = _library(whole, *scan)
  out, errors = process.communicate()
  assert process.returncode == 0 and "331 analyzed" in out, errors
  process = _library(killed, *scan)
  database_file = killed / "genre_jax" / "library.db"
  for _ in range(600):
    time.sleep(0.1)
    if database_file.exists() and (count := _count(database_file)):
      break
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert 0 < count < 331
  process = _library(killed, *scan)
  out, errors = process.communicate()
  assert process.returncode == 0 and f"{331 - _between(out, 'unchanged')} analyzed" in out, errors
  tables = []
  for place in (whole, killed):
    with contextlib.closing(sqlite3.connect(place / "genre_jax" / "library.db")) as db:
      tables.append(
        db.execute(
          "SELECT path, size, mtime_ns, inode, sound, seconds, tags, status, error, label,"
          " confidence, probabilities, embedding FROM file JOIN analysis ON file = file.id"
          " ORDER BY path"
        ).fetchall()
      )
  assert len(tables[0]) == 331 and tables[0] == tables[1]


def _count(path: pathlib.Path) -> int:
  try:
    with contextlib.closing(sqlite3.connect(path)) as db:
      return db.execute("SELECT COUNT(*) FROM analysis").fetchone()[0]
  except sqlite3.Error:
    return 0


def _between(text, name):
  return int(text.split(f" {name}")[0].split()[-1])


HOLD = """
import gc, pathlib, sys
from absl import flags
from genre_jax import library_command
from genre_jax.errors import UserError
from genre_jax.inference.output_lock import OutputLock

flags.FLAGS(["genre-jax", "--db=library.db"])
with library_command._library(create=True, write=True):
  gc.collect()
  try:
    OutputLock(pathlib.Path("library.db").resolve())
  except UserError as error:
    print(error)
"""


def test_a_command_that_writes_keeps_others_out(tmp_path):
  environment = {**os.environ, "PYTHONPATH": str(ROOT)}
  done = subprocess.run(
    [sys.executable, "-c", HOLD], cwd=tmp_path, env=environment, capture_output=True, text=True
  )
  assert "is being written by another command" in done.stdout, done.stderr


@pytest.mark.slow
def test_commands(tmp_path, small_model):
  music = tmp_path / "music"
  songs = write_songs(music, 2)
  (tmp_path / "genre_jax").mkdir()
  (music / "bad.mp3").write_text("words")

  def run(*arguments, status=0):
    process = _library(tmp_path, *arguments)
    out, errors = process.communicate()
    assert process.returncode == status and "Traceback" not in errors, errors
    return out + errors

  assert "give one or more folders" in run("scan", status=2)
  lock = OutputLock(tmp_path / "genre_jax" / "library.db")
  assert "written by another command" in run("scan", music, status=2)
  lock.release()
  assert "did you mean scan" in run("scam", status=2)
  assert "library scan does not take --replace, which is of library tag:" in run(
    "scan", music, "--replace=all", status=2
  )
  assert "library scan" in run("status", status=2)
  out = run("scan", music, f"--model={small_model}", status=1)
  assert "3 files: " in out and "2 analyzed" in out and "1 failed" in out and "bad.mp3" in out
  assert "3 files: 2 readable, 1 failed, 0 missing" in run("status")
  assert (
    run("export").splitlines()[0].startswith("file,status,genre,confidence,model,correction,artist")
  )
  assert '"status": "failed"' in run("export", "--format=jsonl")
  run("export", f"--out={tmp_path / 'songs.csv'}")
  assert len((tmp_path / "songs.csv").read_text().splitlines()) == 4
  assert "was scanned with small, which is not found by its name" in run("scan", music, status=2)
  assert "--min_confidence=nan: give a number" in run("tag", "--min_confidence=nan", status=2)
  before = [content(song) for song in songs]
  assert "2 files would get a genre" in run("tag", "--min_confidence=0")
  assert [content(song) for song in songs] == before
  out = run("tag", "--min_confidence=0", "--write")
  assert "batch 1: 2 files written, 0 failed" in out and "1 missing" not in out
  assert "2 has these genres already" in run("tag", "--min_confidence=0", "--write")
  assert "batch 1, tag" in run("status") and "written 2" in run("status")
  assert "2 files would be restored" in run("undo")
  assert "batch 1: 2 files restored, 0 not" in run("undo", "--batch=1", "--write")
  assert [content(song) for song in songs] == before
  assert "no changes to undo" in run("undo", status=2)
  (music / "bad.mp3").unlink()
  assert "1 missing" in run("scan", music, f"--model={small_model}")
  assert "1 files forgotten" in run("forget")
  assert "2 files forgotten" in run("forget", music)


@pytest.mark.slow
def test_an_interrupted_scan_keeps_its_work(tmp_path, small_model):
  music = tmp_path / "music"
  write_songs(music, 300, seconds=1.0)
  process = _library(tmp_path, "scan", music, f"--model={small_model}", "--workers=1")
  database_file = tmp_path / "genre_jax" / "library.db"
  for _ in range(600):
    time.sleep(0.05)
    if _count(database_file):
      break
  process.send_signal(signal.SIGTERM)
  out, errors = process.communicate()
  if process.returncode == 0:
    pytest.skip("the scan was faster than the signal")
  assert process.returncode == 128 + signal.SIGTERM and "Traceback" not in errors, errors
  assert "the same command resumes" in errors
  assert _between(out, "analyzed") == _count(database_file)
