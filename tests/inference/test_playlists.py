"""Playlists: similar genres, reserved names, odd names of files."""

import os
import urllib.parse

import pytest

from genre_jax.errors import UserError
from genre_jax.inference.playlists import playlist_folder, write_playlists


def _lists(folder):
  """Return {name of the playlist: entries}."""
  result = {}
  for path in folder.iterdir():
    lines = path.read_text(errors="surrogateescape").split("\n")
    assert lines[0] == "#EXTM3U" and lines[-1] == ""
    result[lines[1].removeprefix("#PLAYLIST:")] = lines[2:-1]
  return result


def test_similar_genres_have_their_own_playlists(tmp_path):
  genres = [
    "Rock/Pop",
    "Rock:Pop",
    "rock/pop",
    "ROCK_POP",
    "É",
    "E\u0301",
    "con",
    "a" * 300,
    "..",
    "",
  ]
  genres += ["a" * 301, "歌" * 100, "new\nline"]
  files = [(f"/music/{number}.mp3", genre) for number, genre in enumerate(genres)]
  assert write_playlists(tmp_path, files) == len(genres)
  names = [path.name for path in tmp_path.iterdir()]
  assert len({name.casefold() for name in names}) == len(genres) and "con.m3u8" not in names
  assert sorted(sum(_lists(tmp_path).values(), [])) == sorted(path for path, _ in files)
  # The same genres keep their files, alone and in another order.
  before = {path.name: path.read_text() for path in tmp_path.iterdir()}
  for number in range(len(files)):
    write_playlists(tmp_path, files[number : number + 1])
  assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
  assert _lists(tmp_path)["Rock/Pop"] == ["/music/0.mp3"]


def test_a_playlist_of_an_earlier_version_is_replaced(tmp_path):
  (tmp_path / "hip hop.m3u8").write_text("#EXTM3U\n/music/old.mp3\n")
  write_playlists(tmp_path, [("/music/new.mp3", "hip hop")])
  assert os.listdir(tmp_path) == ["hip hop.m3u8"] and _lists(tmp_path)["hip hop"] == [
    "/music/new.mp3"
  ]


@pytest.mark.parametrize("name", ["a\nb.mp3", "a\rb.mp3", " a.mp3 ", "a\u2028.mp3", "ü\n%.mp3"])
def test_paths_that_are_no_line_are_uris(tmp_path, name):
  path = tmp_path / name
  path.write_text("")
  lists = playlist_folder(str(tmp_path / "lists"))
  write_playlists(lists, [(str(tmp_path / "sub" / name), "x"), (str(tmp_path / "ü.mp3"), "x")])
  uri, plain = _lists(lists)["x"]
  if name.strip() == name:
    assert uri.startswith("file:///") and uri.isascii()
    assert urllib.parse.unquote(uri).endswith(f"/sub/{name}")
  assert plain == str(tmp_path / "ü.mp3")


def test_a_folder_that_cannot_be_written(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="--playlists=.*file.*cannot be written"):
    playlist_folder(str(tmp_path / "file"))
