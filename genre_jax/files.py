"""Files that are either whole or absent, whatever ends the program that writes them."""

import json
import os
import pathlib
from typing import Any

from genre_jax.errors import UserError


def write_whole(path: pathlib.Path, text: str) -> None:
  """Writes a text beside its place and moves it there."""
  temporary = path.with_name(path.name + ".tmp")
  temporary.write_text(text, encoding="utf-8")
  os.replace(temporary, path)


def write_block(path: pathlib.Path, name: str, block: str) -> None:
  """Replaces the lines of a page between `<!-- NAME -->` and `<!-- /NAME -->`.

  Raises:
    UserError: if the page has not just one such place.
  """
  begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
  try:
    before, rest = path.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    write_whole(path, before + begin + block + end + after)
  except (OSError, ValueError) as error:
    raise UserError(f"--into={path} has no lines {begin.strip()} and {end} ({error})") from error


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a JSON file so that it is either whole or absent."""
  path.parent.mkdir(parents=True, exist_ok=True)
  write_whole(path, json.dumps(value, indent=1) + "\n")
