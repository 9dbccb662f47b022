"""Write one playlist (.m3u8) per predicted genre."""

import os
import pathlib
import re
import tempfile
from collections.abc import Iterable

from genre_jax.errors import UserError


def playlist_folder(path: str) -> pathlib.Path:
  """Create the folder for playlists, before any file is predicted.

  Raises:
    UserError: If the folder cannot be created or written.
  """
  folder = pathlib.Path(path)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as error:
    raise _unwritable(folder, error) from error
  return folder


def _unwritable(folder, error):
  return UserError(f"--playlists={folder}: cannot be written ({error.strerror or error})")


def write_playlists(folder: pathlib.Path, files: Iterable[tuple[str, str]]) -> int:
  """Write one .m3u8 playlist per genre; existing ones of the same genres are replaced.

  Args:
    folder: The folder for playlists.
    files: (path, genre) of each file; several tags are joined by ';'.

  Returns:
    The number of playlists.
  """
  playlists: dict[str, list[str]] = {}
  for path, genre in files:
    for name in genre.split(";"):
      playlists.setdefault(name, []).append(os.path.abspath(path))
  try:
    for name, paths in playlists.items():
      safe_name = re.sub(r"[^\w &+-]", "_", name) or "_"  # class names come from the model
      lines = ["#EXTM3U", *(path for path in paths if "\n" not in path)]
      temporary = folder / f"{safe_name}.m3u8.tmp"
      temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
      os.replace(temporary, folder / f"{safe_name}.m3u8")
  except OSError as error:
    raise _unwritable(folder, error) from error
  return len(playlists)
