"""Write the playlists and tables of `library` commands."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import TextIO

from genre_jax.data.recognize import SNIFFED_BYTES, is_audio_name, sound_format
from genre_jax.errors import UserError
from genre_jax.files import move_into_place

DATABASE = b"SQLite format 3\0"


def output_file(path: str | os.PathLike) -> pathlib.Path:
  """Return the file of --out, with links followed.

  Raises:
    UserError: If it has the name or the content of music, or is a database: it was not meant.
  """
  target = pathlib.Path(os.path.realpath(pathlib.Path(path).expanduser()))
  try:
    with open(target, "rb") as file:
      head = file.read(SNIFFED_BYTES)
  except OSError:  # mostly, there is no such file; writing it reports other reasons
    head = b""
  if is_audio_name(target.name) or sound_format(head) or head == DATABASE:
    raise UserError(
      f"--out={path}: is music by its name or content, or a database; give another file"
    )
  return target


@contextlib.contextmanager
def new_text(path: pathlib.Path) -> Iterator[TextIO]:
  """Open a text file for writing, which appears complete or not at all; create its folder.

  Raises:
    UserError: If the file cannot be written.
  """
  temporary = path.with_name(f".{path.name}.tmp")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
      yield file
    move_into_place(temporary, path)
  except OSError as error:
    raise UserError(
      f"--out={path}: cannot be written ({error.strerror or error}); give another file"
    ) from error
  finally:
    with contextlib.suppress(OSError):
      temporary.unlink()
