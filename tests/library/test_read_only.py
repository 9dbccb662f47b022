"""Test libraries that cannot be written: they are read, and writing names the file in one line."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

from genre_jax.errors import UserError
from genre_jax.library import database, overview
from tests.conftest import ROOT
from tests.library.conftest import add_song, write_songs

NOBODY = 65534
WRITES = "make the file and its folder writable"
COMMANDS = {  # part of the error that each prints, "" for none
  "status": "",
  "export": "",
  "tag": "",
  "tag --write": WRITES,
  "undo": "no changes to undo",
  "undo --write": WRITES,
  "similar {song}": "no embeddings",
  "forget": WRITES,
}


@pytest.fixture
def closed():
  """Yield a folder that is read-only and contains a library with a song."""
  folder = pathlib.Path(tempfile.mkdtemp(prefix="genre_jax-test-"))  # others cannot open tmp_path
  db = database.open_database(folder / "library.db", create=True)
  (song,) = write_songs(folder, 1)
  add_song(db, song, rock=0.9)
  db.close()
  os.chmod(folder / "library.db", 0o444)
  os.chmod(folder, 0o555)
  yield folder
  os.chmod(folder, 0o755)
  shutil.rmtree(folder)


@contextlib.contextmanager
def _without_rights():
  """Be a user who cannot write everything, as root can."""
  root = os.geteuid() == 0
  if root:
    os.seteuid(NOBODY)
  try:
    yield
  finally:
    if root:
      os.seteuid(0)


def test_a_library_in_a_read_only_folder_is_read(closed):
  with _without_rights(), contextlib.closing(database.open_database(closed / "library.db")) as db:
    assert overview.status(db, database.find_model(db))[0].startswith("1 files: 1 readable")
    with pytest.raises(database.sqlite3.Error) as error:
      overview.forget(db, [])
  assert "make the file and its folder writable" in str(database.fault(closed, error.value))


def test_a_log_that_waits_is_not_ignored(closed):
  os.chmod(closed, 0o755)
  (closed / "library.db-wal").write_bytes(b"x")
  os.chmod(closed / "library.db-wal", 0o444)
  os.chmod(closed, 0o555)
  with _without_rights(), pytest.raises(UserError, match="library.db: .*; "):
    database.open_database(closed / "library.db")


def test_a_library_is_not_created_in_a_read_only_folder(closed):
  with _without_rights(), pytest.raises(UserError, match="new.db: unable to open"):
    database.open_database(closed / "new.db", create=True)


@pytest.mark.slow
def test_commands(closed, tmp_path):
  """Run each command in a process that first imports, as root may be the one who can read."""
  script = f"""
import importlib, os, pkgutil, sys
import genre_jax.library
for module in pkgutil.iter_modules(genre_jax.library.__path__):
  importlib.import_module("genre_jax.library." + module.name)
from genre_jax import command_line, library_command
import genre_jax.inference.output_lock
for command in sys.argv[1:]:
  child = os.fork()
  if not child:
    print(command, file=sys.stderr, flush=True)
    if os.geteuid() == 0:
      os.seteuid({NOBODY})
    sys.argv = ["library", *command.split()]
    command_line.run(library_command.main)
  print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=sys.stderr, flush=True)
"""
  place = closed / "library.db"
  commands = [f"{command} --db={place}".format(song=closed / "000.flac") for command in COMMANDS]
  done = subprocess.run(
    [sys.executable, "-c", script, *commands],
    env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    capture_output=True,
    text=True,
  )
  assert "Traceback" not in done.stderr
  lines = done.stderr.splitlines()
  starts = [lines.index(command) for command in commands]
  for first, last, fault in zip(starts, [*starts[1:], len(lines)], COMMANDS.values(), strict=True):
    *_, message, status = lines[first:last]
    assert status == ("2" if fault else "0") and fault in message, lines[first:last]
    assert not fault or message.startswith("error: ")
    assert fault != WRITES or str(place) in message
