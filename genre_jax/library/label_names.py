"""Translate the labels of models to the genres that are written into tags.

`label_names.csv` has the columns label and tag. A label with an empty tag is no genre, and is never
written. A label that is not listed is written as it is.
"""

import csv
import os
import pathlib
from collections.abc import Sequence
from typing import TextIO

from genre_jax.data.names import name_key, normal_name
from genre_jax.data.tables import check_cells, check_first, check_one_line, columns_of, read_rows
from genre_jax.errors import UserError
from genre_jax.library.tag_keys import parts_of

FILE = pathlib.Path(__file__).parent / "label_names.csv"
COLUMNS = ("label", "tag")


def read_names(path: str | os.PathLike = "") -> dict[str, str]:
  """Return {key of a label: tag}.

  Args:
    path: Table of the user, whose rows replace those of this package; '' for none.

  Raises:
    UserError: If the table cannot be used.
  """
  names = _read(FILE)
  if path:
    names |= _read(path)
  return names


def _read(path) -> dict[str, str]:
  rows = read_rows(path, COLUMNS)
  _, header = next(rows, (1, []))
  label, tag = columns_of(header, COLUMNS, path)
  names: dict[str, str] = {}
  lines: dict[str, int] = {}
  for line, row in rows:
    row += [""] * (len(header) - len(row))
    check_cells(row, header, path, line)
    check_one_line({"label": row[label], "tag": row[tag]}, path, line)
    if not name_key(row[label]):
      raise UserError(f"{path}, line {line}: the label is empty; write one, or remove the line.")
    check_first(lines, name_key(row[label]), path, line, "remove one of the lines")
    names[name_key(row[label])] = normal_name(row[tag])
  return names


def tag_of(label: str, names: dict[str, str]) -> str:
  """Return the genre that is written for a label; '' for none."""
  return names.get(name_key(label), normal_name(label))


def print_names(labels: Sequence[str], names: dict[str, str], file: TextIO) -> None:
  """Write a CSV table of labels and the genres that are written for them.

  Args:
    labels: The labels; none for all that are listed.
    names: As of `read_names`.
    file: Gets the table.
  """
  table = csv.writer(file, lineterminator="\n")
  table.writerow(COLUMNS)
  table.writerows((label, tag_of(label, names)) for label in labels or names)


def tags_of(labels: str, names: dict[str, str]) -> list[str]:
  """Return the genres that are written for labels which semicolons join."""
  return list(dict.fromkeys(filter(None, (tag_of(part, names) for part in parts_of(labels)))))
