"""Read the CSV tables that users write: any common encoding, separator and line end.

The encoding follows from the byte-order mark or the content, the separator from the names of the
columns in the header line. Errors name the file, the line and the remedy.
"""

import csv
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TextIO

from genre_jax.data.names import name_key, normal_name
from genre_jax.data.text_encodings import SAVE, text_encoding
from genre_jax.errors import UserError, did_you_mean

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
# Larger than the largest table of a supported dataset, FMA's tracks.csv with 261 MB.
MAX_BYTES = 512_000_000
MAX_HEADER = 1 << 20  # characters


def read_rows(
  path: str | os.PathLike, names: Collection[str], notes: list[str] | None = None
) -> Iterator[tuple[int, list[str]]]:
  """Yield the rows of a table that are not empty.

  Args:
    path: The table.
    names: Names of columns that the first row may contain; they decide what the separator is.
    notes: List to which a line for the user is added if the encoding is not Unicode.

  Yields:
    (number of the first line of the row, cells without surrounding blanks).

  Raises:
    UserError: If the file cannot be read as such a table.
  """
  line, separator = 1, ","
  try:
    if not os.path.isfile(path):
      what = "is not a regular file" if os.path.exists(path) else "there is no such file"
      raise UserError(f"{path}: cannot be read as a table: {what}.")
    if (size := os.path.getsize(path)) > MAX_BYTES:
      raise UserError(
        f"{path}: has {size / 1e6:.0f} MB, more than the {MAX_BYTES / 1e6:.0f} MB of a table; split"
        " it or remove columns."
      )
    encoding, note = text_encoding(path)
    if note and notes is not None:
      notes.append(note)
    with open(path, newline="", encoding=encoding) as file:
      separator, skipped = header_place(file, names)
      file.seek(0)
      line += sum(1 for _ in zip(range(skipped), file, strict=False))
      offset = line - 1
      rows = csv.reader(file, delimiter=separator, strict=True, skipinitialspace=True)
      for row in rows:
        if any(cell.strip() for cell in row):
          yield line, [cell.strip() for cell in row]
        line = offset + rows.line_num + 1
  except csv.Error as error:
    raise UserError(
      f"{path}, line {line}: cannot be read as a table: {error}; put {SEPARATORS[separator]}"
      " between the cells; one that begins with a quote must end with one, and a quote inside"
      " it is doubled."
    ) from error
  except UnicodeError as error:
    raise UserError(f"{path}: cannot be read as a table: {error}; {SAVE}.") from error
  except OSError as error:
    raise UserError(f"{path}: cannot be read as a table: {error.strerror or error}.") from error


def header_place(file: TextIO, names: Collection[str]) -> tuple[str, int]:
  """Find the header of a table.

  A spreadsheet may write a line such as `sep=;` before the header.

  Args:
    file: The table, at its beginning.
    names: Names of columns that the header may contain; they decide what the separator is.

  Returns:
    The separator, and the number of lines up to the last `sep=` before the header.
  """
  known, skipped = {name_key(name) for name in names}, 0
  for number, text in enumerate(iter(lambda: file.readline(MAX_HEADER), ""), 1):
    if text.strip().strip('"').lower() in ("sep=,", "sep=;", "sep=", "sep=\\t"):
      skipped = number
    elif text.strip():
      counts = {
        separator: len(
          known & {name_key(cell) for cell in next(csv.reader([text], delimiter=separator))}
        )
        for separator in SEPARATORS
      }
      return max(counts, key=lambda separator: counts[separator]), skipped
  return ",", 0


def columns_of(header: Sequence[str], names: Sequence[str], path) -> list[int]:
  """Return the indices of columns in a header, whatever their case.

  Raises:
    UserError: If a column is missing or occurs twice.
  """
  keys = [name_key(name) for name in header]
  first_line = f"{','.join(header[:8])[:200]!r}{'...' if len(header) > 8 else ''}"
  for name in names:
    if name_key(name) not in keys:
      raise UserError(
        f"{path}: the column {name} is missing; its first line is {first_line}, and must name the"
        f" columns{did_you_mean(name, header)}."
      )
    if keys.count(name_key(name)) > 1:
      raise UserError(f"{path}, line 1: there are two columns {name}; rename or remove one.")
  return [keys.index(name_key(name)) for name in names]


def check_cells(
  row: Sequence[str], header: Sequence[str], path, line: int, needed: int = 0
) -> None:
  """Raise UserError if a row has too many cells, or too few.

  Args:
    row: The cells.
    header: The names of the columns.
    path: The table, for the message.
    line: Line of the row.
    needed: Cells that a row must have; empty ones at its end may be left out. 0: as the header.
  """
  extra = any(row[len(header) :])
  if extra or len(row) < (needed or len(header)):
    cells = f"{len(row)} cell{'s' if len(row) != 1 else ''} under {len(header)} columns"
    raise UserError(
      f"{path}, line {line}: {cells}, beginning {row[0][:40]!r}; "
      + (
        "put names with commas in quotes."
        if extra
        else "write every cell, and an empty one where nothing is known."
      )
    )


def check_one_line(cells: Mapping[str, Any], path, line: int) -> None:
  """Raise UserError if a cell of {name: cell} has a line break, as after a quote left open."""
  for name, cell in cells.items():
    if "\n" in cell or "\r" in cell:
      raise UserError(
        f"{path}, line {line}: there is a line break in the {name}, beginning"
        f" {cell.splitlines()[0][:40]!r}; close the quote before it."
      )


def check_first(lines: dict[str, int], track: str, path, line: int, remedy: str) -> None:
  """Add a track to {track: line}; raise UserError if it is listed already."""
  if track in lines:
    raise UserError(
      f"{path}, line {line}: {track} is listed in line {lines[track]} already; {remedy}."
    )
  lines[track] = line


def split_names(cell: str) -> list[str]:
  """Return the names in a cell that joins them by ';', each in normal form, without empty ones."""
  return [name for name in map(normal_name, cell.split(";")) if name]
