"""Source: audio files that a CSV file lists, with the columns file, genre, group and split.

`genre` contains labels, joined by ';'. A label that begins with '?' is unknown for that file: it is
excluded from the loss and from evaluation. A label that a line does not name is negative. A line
without labels is left out, because nobody has labeled the file. `group` (optional) is the artist or
recording that must stay in one split; several are joined by ';'. `split` (optional) is train,
validation or test, for `--config.split.name=official`. Paths are relative to the CSV file.

The column name `side` and the value `valid` of earlier versions are accepted for `split` and
`validation`.
"""

import os

from genre_jax.data.groups import merge_spellings, tidy_groups
from genre_jax.data.names import describe_spellings, name_key
from genre_jax.data.source import SPLITS, Clip, Request, Source
from genre_jax.data.sources.metadata import find_table, metadata_source
from genre_jax.data.tables import (
  check_cells,
  check_first,
  check_one_line,
  columns_of,
  read_rows,
  split_names,
)
from genre_jax.errors import UserError
from genre_jax.old_names import SPLITS as OLD_SPLITS

ROLES = {
  "file": "file",
  "genre": "genre",
  "genres": "genre",
  "label": "genre",
  "group": "group",
  "split": "split",
  "side": "split",  # of earlier versions
}


def open_audio_table(request: Request) -> Source:
  """Open a CSV file as a source."""
  table = find_table(request, ("table.csv", "genres.csv"))
  notes: list[str] = []
  rows = read_rows(table, ROLES, notes)
  header = _header(next(rows, (0, []))[1], table)
  needed = max(header.index("file"), header.index("genre")) + 1
  all_clips, tracks, spellings, unlabeled = [], {}, {}, 0
  for line, row in rows:
    check_cells(row, header, table, line, needed=needed)
    cells = dict(zip(header, row, strict=False))
    check_one_line({role: cells.get(role, "") for role in ROLES.values()}, table, line)
    track = os.path.normpath(cells["file"]).replace(os.sep, "/")
    if not cells["file"]:
      raise UserError(f"{table}, line {line}: the file is not named.")
    check_first(tracks, track, table, line, "put all its genres in one line, joined by ';'")
    labels, unknown = _labels(cells.get("genre", ""), table, line)
    _check_spelling(spellings, cells.get("genre", ""), table, line)
    if not labels and not unknown:
      unlabeled += 1
      continue
    split = OLD_SPLITS.get(cells.get("split", ""), cells.get("split", ""))
    if split not in ("", *SPLITS):
      raise UserError(
        f"{table}, line {line}: the split is {split!r}: give {', '.join(SPLITS)} or nothing."
      )
    group = tidy_groups(cells.get("group", ""))
    all_clips.append(
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
  if unlabeled:
    notes.append(f"{unlabeled} lines of {table} name no genre: left out")
  all_clips, more = merge_spellings(all_clips)
  notes += more
  return metadata_source("audio_table", request, all_clips, (table.parent,), notes)


def _header(names: list[str], table) -> list[str]:
  """Return the roles of the columns; raise UserError if a role is missing or given twice."""
  header = [ROLES.get(name_key(name), name_key(name)) for name in names]
  for role in dict.fromkeys(ROLES.values()):
    same = [name for name, known in zip(names, header, strict=True) if known == role]
    if len(same) > 1:
      raise UserError(
        f"{table}, line 1: the columns {' and '.join(same)} both give the {role}:"
        " rename or remove one."
      )
  columns_of(header, ("file", "genre"), table)
  return header


def _labels(cell: str, table, line: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
  """Return (positive, unknown) labels of a cell: 'rock;?pop' gives (('rock',), ('pop',))."""
  names = list(dict.fromkeys(split_names(cell)))
  unknown = tuple(name[1:].strip() for name in names if name.startswith("?"))
  labels = tuple(name for name in names if not name.startswith("?"))
  if "" in unknown:
    raise UserError(
      f"{table}, line {line}: a '?' has no label after it; write ?GENRE if it is unknown"
      " whether the file is of GENRE, and an empty cell if nothing is known."
    )
  if both := set(labels) & set(unknown):
    raise UserError(f"{table}, line {line}: {min(both)} is both positive and unknown.")
  return labels, unknown


def _check_spelling(spellings: dict[str, tuple[str, int]], cell: str, table, line: int) -> None:
  """Add the labels of a cell to {key: (spelling, line)}.

  Raises:
    UserError: If two labels are spellings of one name.
  """
  for name in (name.strip().removeprefix("?").strip() for name in cell.split(";")):
    before, where = spellings.setdefault(name_key(name), (name, line))
    if before != name:
      raise UserError(
        f"{table}, line {line}: {name!r} is spelled {before!r} in line {where}; they"
        f" would be two classes: use one spelling ({describe_spellings(before, name)})."
      )
