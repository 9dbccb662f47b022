"""Files that are either whole or absent, whatever ends the program that writes them."""

import os
import pathlib


def write_whole(path: pathlib.Path, text: str) -> None:
  """Writes a text beside its place and moves it there."""
  temporary = path.with_name(path.name + ".tmp")
  temporary.write_text(text, encoding="utf-8")
  os.replace(temporary, path)
