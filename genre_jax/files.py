"""Write files so that a crash leaves either the old file or the whole new one."""

import json
import os
import pathlib
from typing import Any

from genre_jax.errors import UserError


def cache_dir() -> pathlib.Path:
  """Return the user's cache folder: $XDG_CACHE_HOME/genre_jax, or ~/.cache/genre_jax.

  A relative XDG_CACHE_HOME is ignored, as the XDG Base Directory Specification requires.
  """
  base = os.environ.get("XDG_CACHE_HOME", "")
  root = pathlib.Path(base) if os.path.isabs(base) else pathlib.Path.home() / ".cache"
  return root / "genre_jax"


def write_whole(path: pathlib.Path, text: str) -> None:
  """Write text to a temporary file in the same folder, then rename it to `path`."""
  temporary = path.with_name(path.name + ".tmp")
  temporary.write_text(text, encoding="utf-8")
  os.replace(temporary, path)


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
