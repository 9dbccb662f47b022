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
COMMANDS = {
  "status": 0,
  "export": 0,
  "tag": 0,
  "tag --write": 2,
  "undo": 0,
  "undo --write": 2,
  "similar {song}": 2,  # it has no embedding
  "playlist --genre=rock --out={out}": 0,
  "forget": 2,
  "scan {song}": 2,
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
@pytest.mark.parametrize("command", COMMANDS)
def test_commands(closed, command):
  place = closed / "library.db"
  home = tempfile.mkdtemp(prefix="genre_jax-test-")
  os.chmod(home, 0o777)
  arguments = command.format(song=closed / "000.flac", out=f"{home}/list.m3u8").split()
  options = {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}
  script = "from genre_jax.cli import main; main()"
  try:
    done = subprocess.run(
      [sys.executable, "-c", script, "library", *arguments, f"--db={place}"],
      env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": home},
      cwd=home,
      capture_output=True,
      text=True,
      **options,
    )
  except PermissionError:
    pytest.skip("another user cannot run this Python")
  finally:
    shutil.rmtree(home)
  assert "Traceback" not in done.stderr
  if done.returncode == 2 and not command.startswith("similar"):
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ") and str(place) in line and "writable" in line
  assert done.returncode == COMMANDS[command], done.stderr
