"""Write files so that a crash leaves either the old file or the whole new one."""

import contextlib
import errno
import json
import os
import pathlib
import zipfile
from typing import Any

from genre_jax.errors import UserError

# Limit for a file of an archive after decompression; the largest that is read has 15 MB.
MAX_MEMBER_BYTES = 64 << 20


def cache_dir() -> pathlib.Path:
  """Return the user's cache folder: $XDG_CACHE_HOME/genre_jax, or ~/.cache/genre_jax.

  A relative XDG_CACHE_HOME is ignored, as the XDG Base Directory Specification requires.
  """
  base = os.environ.get("XDG_CACHE_HOME", "")
  root = pathlib.Path(base) if os.path.isabs(base) else pathlib.Path.home() / ".cache"
  return root / "genre_jax"


def write_whole(path: pathlib.Path, text: str) -> None:
  """Write text to a temporary file in the same folder, then move it to `path`."""
  temporary = path.with_name(path.name + ".tmp")
  try:
    temporary.write_text(text, encoding="utf-8")
    move_into_place(temporary, path)
  except BaseException:
    with contextlib.suppress(OSError):
      temporary.unlink()
    raise


def move_into_place(temporary: str | os.PathLike, path: str | os.PathLike) -> None:
  """Replace a file by another one, which the disk has completely before it gets the name."""
  _synchronize(temporary)
  os.replace(temporary, path)
  _synchronize(os.path.dirname(path) or ".")


def _synchronize(path) -> None:
  """Write a file, or the names in a folder, from the operating system's memory to the disk."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  except OSError as error:
    if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system without it
      raise
  finally:
    os.close(descriptor)


def write_block(path: pathlib.Path, name: str, block: str) -> None:
  """Replace the lines of a file between `<!-- NAME -->` and `<!-- /NAME -->`.

  Args:
    path: Markdown file.
    name: Name of the block.
    block: New lines, ending with a line break.

  Raises:
    UserError: If the file cannot be read or does not contain exactly one such block.
  """
  begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
  try:
    before, rest = path.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    write_whole(path, before + begin + block + end + after)
  except (OSError, ValueError) as error:
    raise UserError(
      f"--into={path}: expected one line {begin.strip()} and one line {end} ({error})"
    ) from error


def write_json(path: pathlib.Path, value: Any) -> None:
  """Write a value as a JSON file; create the folder if needed."""
  path.parent.mkdir(parents=True, exist_ok=True)
  write_whole(path, json.dumps(value, indent=1) + "\n")


def archive_member(archive: zipfile.ZipFile, name: str) -> bytes:
  """Return the content of a file of an archive; zipfile checks its CRC.

  Raises:
    KeyError: If there is no such file.
    zipfile.BadZipFile: If it is damaged or unpacks to more than MAX_MEMBER_BYTES.
  """
  if archive.getinfo(name).file_size > MAX_MEMBER_BYTES:
    raise zipfile.BadZipFile(f"{name} unpacks to more than {MAX_MEMBER_BYTES} bytes")
  return archive.read(name)
