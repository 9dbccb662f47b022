"""Search of folders: any depth, links, loops, files with several paths."""

import os

import pytest

from genre_jax.data.files import list_files
from genre_jax.errors import UserError


def _touch(path):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("")


def _names(folder, depth=None):
  return [name for name, _ in list_files(folder, depth)]


def test_files_at_any_depth(tmp_path):
  deep = "rock/B/Beatles/Album/CD 1/a/b/c/deep.mp3"
  for name in (deep, "rock/a.mp3", "rock/.hidden/b.mp3", ".c.mp3", "loose.mp3"):
    _touch(tmp_path / name)
  assert _names(tmp_path) == ["loose.mp3", deep, "rock/a.mp3"]
  assert _names(tmp_path, 1) == ["loose.mp3", "rock/a.mp3"] and _names(tmp_path, 0) == ["loose.mp3"]
  assert list_files(tmp_path)[1][1] == str(tmp_path / deep)


def test_hundreds_of_levels(tmp_path):
  folder = tmp_path.joinpath(*["d"] * 400)
  folder.mkdir(parents=True)
  (folder / "a.mp3").write_text("")
  assert len(_names(tmp_path)) == 1


def test_loops_end(tmp_path):
  root = tmp_path / "music"
  _touch(root / "rock" / "a.mp3")
  _touch(tmp_path / "outside.mp3")
  (root / "rock" / "self").symlink_to(root / "rock")
  (root / "rock" / "up").symlink_to("..")
  (root / "rock" / "above").symlink_to(tmp_path)
  (root / "rock" / "all").symlink_to("/")
  (root / "rock" / "circle").symlink_to("circle")
  assert _names(root) == ["rock/a.mp3", "rock/circle"]
  # Folders that link to each other: the number of paths is exponential.
  for number in range(25):
    _touch(root / str(number) / "x.mp3")
    for other in range(25):
      (root / str(number) / f"to{other}").symlink_to(root / str(other))
  assert len(_names(root)) == 27


def test_files_with_several_paths_count_once(tmp_path):
  _touch(tmp_path / "b" / "real" / "a.mp3")
  (tmp_path / "a_link").symlink_to(tmp_path / "b" / "real")
  (tmp_path / "a.mp3").symlink_to(tmp_path / "b" / "real" / "a.mp3")
  assert _names(tmp_path) == ["b/real/a.mp3"]
  elsewhere = tmp_path / "elsewhere"
  (tmp_path / "c").mkdir()
  (tmp_path / "c" / "one").symlink_to(tmp_path / "b")
  (tmp_path / "c" / "two").symlink_to(tmp_path / "b")
  assert _names(tmp_path / "c") == ["one/real/a.mp3"]
  elsewhere.symlink_to(tmp_path / "b")
  assert _names(elsewhere) == ["real/a.mp3"]


def test_names_that_are_not_utf8_are_escaped(tmp_path):
  with open(os.fsencode(tmp_path) + b"/\xff.mp3", "w"):
    pass
  assert _names(tmp_path) == ["\\udcff.mp3"]


def test_a_folder_that_cannot_be_listed(tmp_path):
  with pytest.raises(UserError, match="none cannot be listed: No such file"):
    list_files(tmp_path / "none")
