"""Inject a fault into every write, fsync and rename: a file is the old or the new one."""

import errno
import io
import os
import pathlib
import shutil
import warnings

import pytest

from genre_jax.library import changes, database, rewrite, tags
from tests.library.conftest import add_song, content, tag, undo_last
from tests.library.test_formats import write_kind


class Faults:
  """Count what changes the disk, and call a function at the n-th call.

  Args:
    patch: The monkeypatch fixture.
    at: Number of the call; 0 for none.
    fault: What to do then.
  """

  def __init__(self, patch, at, fault):
    self.count, self._at, self._fault = 0, at, fault
    faults = self

    class File(io.FileIO):
      def write(self, data):
        faults.step()
        return super().write(data)

      def truncate(self, *size):
        faults.step()
        return super().truncate(*size)

    def open_temporary(path):
      self.step()
      descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
      return io.BufferedRandom(File(descriptor, "r+b"))

    patch.setattr(rewrite, "open_temporary", open_temporary)
    for name in ("fsync", "replace", "fchmod"):
      real = getattr(os, name)

      def call(*arguments, real=real, **options):
        self.step()
        return real(*arguments, **options)

      patch.setattr(os, name, call)

  def step(self):
    self.count += 1
    if self.count == self._at:
      self._fault()


def _fail(number):
  def fault():
    raise OSError(number, os.strerror(number))

  return fault


def _states(folder, name):
  """Return the content of a file before and after its genre is written, and the calls it takes."""
  folder.mkdir()
  path = shutil.copyfile(write_kind(folder.parent, name, 0.3), folder / name)
  db = database.open_database(folder / "library.db", create=True)
  before = content(path)
  add_song(db, path, rock=0.9)
  with pytest.MonkeyPatch.context() as patch:
    faults = Faults(patch, 0, None)
    assert tag(db) == {name: ""}
  db.close()
  return before, content(path), faults.count


KINDS = ["song.mp3", "song.flac", "moov_first.m4a"]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_an_error_at_every_step(tmp_path, name, number):
  old, new, count = _states(tmp_path / "reference", name)
  assert count > 5
  for at in range(1, count + 1):
    folder = tmp_path / str(at)
    folder.mkdir()
    path = shutil.copyfile(tmp_path / name, folder / name)
    with database.open_database(folder / "library.db", create=True) as db:
      add_song(db, path, rock=0.9)
      with pytest.MonkeyPatch.context() as patch:
        Faults(patch, at, _fail(number))
        (reason,) = tag(db).values()
      assert os.strerror(number) in reason
      assert content(path) in (old, new) and sorted(os.listdir(folder)) == _clean(name)
      _repeat(db, path, name, old, new)
    db.close()


def _clean(name):
  return sorted(["library.db", "library.db-shm", "library.db-wal", name])


def _repeat(db, path, name, old, new):
  """Check that the state in the library is true, and that a file can be written and restored."""
  state = [state for (state,) in db.execute("SELECT state FROM change")]
  assert state == (["written"] if content(path) == new else [])
  if content(path) == old:
    assert tag(db) == {name: ""}
  assert content(path) == new
  assert undo_last(db) == {name: ""} and content(path) == old


@pytest.mark.parametrize("name", KINDS)
def test_the_process_ends_at_every_step(tmp_path, name):
  """Ends a process without any clean-up, as SIGKILL and a power failure do."""
  old, new, count = _states(tmp_path / "reference", name)
  seen = set()
  for at in range(1, count + 1):
    folder = tmp_path / str(at)
    folder.mkdir()
    path = shutil.copyfile(tmp_path / name, folder / name)
    db = database.open_database(folder / "library.db", create=True)
    add_song(db, path, rock=0.9)
    db.close()
    assert _in_child(folder, at, tag) == 9
    assert content(path) in (old, new)
    seen.add(content(path))
    db = database.open_database(folder / "library.db")
    assert changes.settle(db) == []
    assert sorted(os.listdir(folder)) == _clean(name)
    _repeat(db, path, name, old, new)
    db.close()
  assert seen == {old, new}


def test_undo_ends_at_every_step(tmp_path):
  name = "song.mp3"
  old, new, _ = _states(tmp_path / "reference", name)
  for at in range(1, 100):
    folder = tmp_path / str(at)
    shutil.copytree(tmp_path / "reference", folder)
    path = folder / name
    db = database.open_database(folder / "library.db")
    db.execute("UPDATE file SET path = ?", (os.fsencode(path),))
    db.close()
    ended = _in_child(folder, at, undo_last)
    assert content(path) in (old, new)
    db = database.open_database(folder / "library.db")
    assert changes.settle(db) == []
    assert sorted(os.listdir(folder)) == _clean(name)
    (state,) = [state for (state,) in db.execute("SELECT state FROM change")]
    assert state == ("undone" if content(path) == old else "written")
    if content(path) == new:
      assert undo_last(db) == {name: ""} and content(path) == old
    db.close()
    if ended == 0:
      assert content(path) == old and at > 5
      return
  raise AssertionError("undo has no end")


def _in_child(folder, at, function):
  """Run a function of the library in a process that ends at the n-th step; return its status."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # JAX has threads; the child uses none
    warnings.simplefilter("ignore", RuntimeWarning)
    child = os.fork()
  if child == 0:
    try:
      Faults(pytest.MonkeyPatch(), at, lambda: os._exit(9))
      function(database.open_database(folder / "library.db"))
    except BaseException:
      os._exit(1)
    os._exit(0)
  return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_writing_in_place_fails_this_test(tmp_path):
  """Show that the check finds a file that is neither old nor new."""
  name = "song.mp3"
  old, new, _ = _states(tmp_path / "reference", name)
  broken = False
  for at in range(1, 20):
    path = write_kind(tmp_path, name)
    with pytest.MonkeyPatch.context() as patch:
      faults = Faults(patch, at, _fail(errno.EIO))

      class File(io.FileIO):
        def write(self, data, faults=faults):
          faults.step()
          return super().write(data)

      try:
        with io.BufferedRandom(File(path, "r+b")) as file:
          tags.edit(file, lambda t: t.set_genres(["Rock"], "x" * 5000))
      except (OSError, tags.TagError):
        broken |= content(path) != old
  assert broken and old != new


def test_a_file_that_changes_meanwhile_is_left_alone(tmp_path, db):
  path = write_kind(tmp_path, "song.flac")
  add_song(db, path, rock=0.9)
  real = changes.Journal.plan
  with pytest.MonkeyPatch.context() as patch:

    def plan(self, number, source, copy):
      real(self, number, source, copy)
      pathlib.Path(path).write_bytes(b"by another program")

    patch.setattr(changes.Journal, "plan", plan)
    assert tag(db) == {"song.flac": "was changed by another program meanwhile"}
  assert path.read_bytes() == b"by another program"
  # The library does not know that content, and does not undo anything of it.
  assert [entry for entry in os.listdir(tmp_path) if entry.startswith(".genre")] == []


def test_owner_and_attributes_that_cannot_be_kept(tmp_path, db, monkeypatch):
  path = write_kind(tmp_path, "song.flac")
  before = content(path)
  add_song(db, path, rock=0.9)
  monkeypatch.setattr(rewrite, "_attributes", lambda fd: {"user.x": b"1"} if fd % 2 else {})
  facts = os.stat(path)
  owner = type("Facts", (), {"st_uid": facts.st_uid + 1, "st_gid": 0})

  def refuse(*_):
    raise PermissionError(errno.EPERM, "Operation not permitted")

  monkeypatch.setattr(os, "fchown", refuse)
  with monkeypatch.context() as patch:
    patch.setattr(rewrite, "_copy_attributes", lambda s, c, f: _copy(s, c, owner))
    assert "another user" in tag(db)["song.flac"]
  assert content(path) == before


_copy = rewrite._copy_attributes
