"""Tests of `genre_jax.files` and of the hint for misspelled names."""

import errno
import os
import pathlib

import pytest

from genre_jax.errors import did_you_mean
from genre_jax.files import cache_dir, write_whole


def test_cache_dir_follows_xdg(monkeypatch, tmp_path):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  assert cache_dir() == tmp_path / "genre_jax"
  for ignored in ("not/absolute", "~/cache", ""):
    monkeypatch.setenv("XDG_CACHE_HOME", ignored)
    assert cache_dir() == pathlib.Path.home() / ".cache" / "genre_jax"


def test_did_you_mean():
  names = {"baseline": 1, "split_cnn": 2}
  assert did_you_mean("split_cn", names) == " (did you mean split_cnn?)"
  assert did_you_mean("quartz", names) == ""
  assert did_you_mean("quartz", names, cutoff=0.0).startswith(" (did you mean ")


FAULTS = {"fsync": errno.EIO, "replace": errno.ENOSPC, "write": errno.ENOSPC}


@pytest.mark.parametrize("call", FAULTS)
def test_an_error_leaves_the_old_file_or_the_whole_new_one(tmp_path, monkeypatch, call):
  path = tmp_path / "a.json"
  write_whole(path, "old")

  def fail(*_, **__):
    raise OSError(FAULTS[call], os.strerror(FAULTS[call]))

  if call == "write":
    monkeypatch.setattr(pathlib.Path, "write_text", fail)
  else:
    monkeypatch.setattr(os, call, fail)
  with pytest.raises(OSError):
    write_whole(path, "new")
  assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.json"]


def test_a_file_system_without_fsync_of_folders(tmp_path, monkeypatch):
  def refuse(_):
    raise OSError(errno.EINVAL, "")

  monkeypatch.setattr(os, "fsync", refuse)
  write_whole(tmp_path / "a.json", "new")
  assert (tmp_path / "a.json").read_text() == "new"
