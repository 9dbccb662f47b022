"""Playlists of what was predicted: one .m3u8 for each genre.

Stands after `tracks.py`, beside `answers.py`.
"""

import os
import pathlib
import re
import tempfile
from collections.abc import Iterable

from genre_jax.errors import UserError


def playlist_folder(path: str) -> pathlib.Path:
  """Makes the folder for playlists; UserError where it cannot be had, before any work is done."""
  folder = pathlib.Path(path)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as error:
    raise _no_playlists(folder, error) from error
  return folder


def _no_playlists(folder, error):
  return UserError(f"--playlists={folder}: cannot be written ({error.strerror or error})")


def write_playlists(folder: pathlib.Path, files: Iterable[tuple[str, str]]) -> int:
  """One .m3u8 for each genre.

  Args:
    folder: of `playlist_folder`; a playlist of the same genre that is there is replaced.
    files: (path, genre, or tags joined by ';').
  Returns:
    How many were written.
  """
  lists: dict[str, list[str]] = {}
  for path, genre in files:
    for name in genre.split(";"):
      lists.setdefault(name, []).append(os.path.abspath(path))
  try:
    for name, paths in lists.items():
      safe = re.sub(r"[^\w &+-]", "_", name) or "_"  # names come with the model
      lines = ["#EXTM3U", *(path for path in paths if "\n" not in path)]
      temporary = folder / f"{safe}.m3u8.tmp"
      temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
      os.replace(temporary, folder / f"{safe}.m3u8")
  except OSError as error:
    raise _no_playlists(folder, error) from error
  return len(lists)
