"""Write one playlist (.m3u8) per predicted genre."""

import os
import pathlib
import re
import tempfile
from collections.abc import Iterable

from genre_jax.data.names import name_key
from genre_jax.errors import UserError
from genre_jax.files import move_into_place

# The name of a playlist as its second line gives it; it tells playlists of similar names apart.
NAME = "#PLAYLIST:"
# Names of devices, which no file can have on some systems.
RESERVED = re.compile("con|prn|aux|nul|com[0-9]|lpt[0-9]", re.IGNORECASE)
# Characters at which some programs end a line.
SPLIT_LINE = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")
MOST_BYTES = 200  # of a file name without its extension; file systems allow 255


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
      playlists.setdefault(name, []).append(entry(os.path.abspath(path)))
  try:
    for name, file in _file_names(folder, playlists).items():
      lines = ["#EXTM3U", NAME + _one_line(name), *playlists[name]]
      temporary = folder / f"{file}.tmp"
      temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
      move_into_place(temporary, folder / file)
  except OSError as error:
    raise _unwritable(folder, error) from error
  return len(playlists)


def entry(path: str) -> str:
  """Return the line of a file: its path, or its URI if players would read the path otherwise."""
  if SPLIT_LINE.search(path) or path != path.strip():
    return pathlib.Path(path).absolute().as_uri()
  return path


def _one_line(name: str) -> str:
  """Return a name as one line, with unusual characters escaped."""
  return name.strip() if name.isprintable() else name.encode("unicode_escape").decode()


def _file_names(folder: pathlib.Path, names: Iterable[str]) -> dict[str, str]:
  """Return {name: file name}, different for all names also where case does not count.

  A file of an earlier run belongs to the name in its second line, so that a name keeps its file.
  """
  owners: dict[str, str] = {}  # {key of a file name: name of the playlist, '' if unknown}
  for entry in sorted(os.listdir(folder)):
    if entry.endswith(".m3u8"):
      owners[name_key(entry)] = name_in(folder / entry)
  result: dict[str, str] = {}
  for name in sorted(names):
    # Class names come from the model.
    safe = re.sub(r"[^\w &+-]", "_", name).strip() or "_"
    safe = f"{safe}_" if RESERVED.fullmatch(safe) else safe
    safe = safe.encode()[:MOST_BYTES].decode("utf-8", "ignore")
    number, file = 1, f"{safe}.m3u8"
    while owners.get(name_key(file), "") not in ("", _one_line(name)):
      number += 1
      file = f"{safe} ({number}).m3u8"
    owners[name_key(file)] = _one_line(name)
    result[name] = file
  return result


def name_in(path: pathlib.Path) -> str:
  """Return the name of an existing playlist, '' if it has none."""
  try:
    with open(path, encoding="utf-8", errors="replace") as file:
      lines = [file.readline(4096), file.readline(4096)]
  except OSError:
    return ""
  return lines[1].removeprefix(NAME).strip() if lines[1].startswith(NAME) else ""
