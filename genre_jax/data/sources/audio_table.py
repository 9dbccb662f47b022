"""Audio files that a CSV lists: the columns file, genre and, if you like, group and side.

A source. Several genres of a file are joined by ';'. One that begins with '?' is unknown of that
file: neither learned nor asked; all that a line does not name, its file does not carry. A line that
names nothing is left out: nobody has listened. `group` is the artist or recording that must stay on
one side of a split, several joined by ';'; `side` is train, valid or test, for
`--config.split.name=official`. Paths are relative to the CSV.
"""

import os

from genre_jax.data.groups import tidy_groups
from genre_jax.data.source import SPLITS, Clip, Request, Source
from genre_jax.data.sources.metadata import (
  check_first,
  columns_of,
  find_table,
  metadata_source,
  read_rows,
)
from genre_jax.errors import UserError

ROLES = {
  "file": "file",
  "genre": "genre",
  "genres": "genre",
  "label": "genre",
  "group": "group",
  "split": "split",
}


def open_audio_table(request: Request) -> Source:
  """The source of a CSV file."""
  table = find_table(request, ("table.csv", "genres.csv"))
  rows = read_rows(table)
  header = _header(next(rows, (0, []))[1], table)
  every, tracks, spelt, unlabeled = [], {}, {}, 0
  for line, row in rows:
    if len(row) > len(header):
      raise UserError(
        f"{table}, line {line}: {len(row)} cells under {len(header)} columns; put"
        " names with commas in quotes."
      )
    cells = dict(zip(header, row, strict=False))
    if broken := next((name for name in ROLES.values() if _is_broken(cells.get(name, ""))), None):
      raise UserError(
        f"{table}, line {line}: there is a line break in the {broken}, beginning"
        f" {cells[broken].splitlines()[0][:40]!r}; close the quote before it."
      )
    track = os.path.normpath(cells["file"]).replace(os.sep, "/")
    if not cells["file"]:
      raise UserError(f"{table}, line {line}: the file is not named.")
    check_first(tracks, track, table, line, "put all its genres in one line, joined by ';'")
    labels, unknown = _labels(cells.get("genre", ""), table, line)
    _check_spelling(spelt, (*labels, *unknown), table, line)
    if not labels and not unknown:
      unlabeled += 1
      continue
    split = cells.get("split", "")
    if split not in ("", *SPLITS):
      raise UserError(f"{table}, line {line}: side is {split!r}: give {', '.join(SPLITS)} or none.")
    group = tidy_groups(cells.get("group", ""))
    every.append(
      Clip(
        track,
        group or f"track:{track}",
        labels,
        track,
        has_group=bool(group),
        split=split,
        unknown=unknown,
      )
    )
  notes = [f"{unlabeled} lines of {table} name no genre: left out"] if unlabeled else []
  return metadata_source("audio_table", request, every, (table.parent,), notes)


def _is_broken(cell: str) -> bool:
  """Whether a cell goes over several lines, as after a quote that is not closed."""
  return "\n" in cell or "\r" in cell


def _header(names: list[str], table) -> list[str]:
  """What the columns are, of which none may be there twice."""
  header = [ROLES.get(name.lower(), name.lower()) for name in names]
  columns_of(header, ("file", "genre"), table)
  for role in dict.fromkeys(ROLES.values()):
    same = [name for name, known in zip(names, header, strict=True) if known == role]
    if len(same) > 1:
      raise UserError(
        f"{table}, line 1: the columns {' and '.join(same)} both give the {role}:"
        " rename or remove one."
      )
  return header


def _labels(cell: str, table, line: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
  """What 'rock;?pop' says is carried, ('rock',), and what is unknown, ('pop',)."""
  names = list(dict.fromkeys(filter(None, (name.strip() for name in cell.split(";")))))
  unknown = tuple(name[1:].strip() for name in names if name.startswith("?"))
  labels = tuple(name for name in names if not name.startswith("?"))
  if "" in unknown:
    raise UserError(
      f"{table}, line {line}: a '?' stands alone; write ?GENRE where nobody knows"
      " whether the file is of GENRE, and an empty cell where nobody knows anything."
    )
  if both := set(labels) & set(unknown):
    raise UserError(f"{table}, line {line}: {min(both)} is both held and unknown.")
  return labels, unknown


def _check_spelling(spelt: dict[str, tuple[str, int]], names, table, line: int) -> None:
  """Enters names in {folded: (spelling, line)}; UserError where one differs by case alone."""
  for name in names:
    before, where = spelt.setdefault(name.casefold(), (name, line))
    if before != name:
      raise UserError(
        f"{table}, line {line}: {name!r} is spelt {before!r} in line {where}; they"
        " would be two classes: spell them alike."
      )
