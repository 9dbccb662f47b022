"""Audio files that a CSV lists: the columns file, genre and, if you like, group and side.

A source. Several genres of a file are joined by ';', and one that begins with '?' is unknown of
that file: neither learnt nor asked. `group` is the artist or recording that must stay on one side
of a split; `side` is train, valid or test, for `--config.split.name=official`. Paths are relative
to the CSV.
"""

import os

from genre_jax.data.clips import Clip, Request, Source
from genre_jax.data.metadata import columns_of, find_table, metadata_source, read_rows
from genre_jax.data.splits import SIDES
from genre_jax.errors import UserError


def open_audio_table(request: Request) -> Source:
  """The source of a CSV file."""
  table = find_table(request, ("table.csv", "genres.csv"))
  rows = read_rows(table)
  _, header = next(rows, (0, []))
  header = [{"genres": "genre", "label": "genre"}.get(name.lower(), name.lower())
            for name in header]
  columns_of(header, ("file", "genre"), table)
  every, tracks, unlabelled = [], {}, 0
  for line, row in rows:
    if len(row) > len(header):
      raise UserError(f"{table}, line {line}: {len(row)} cells under {len(header)} columns; put"
                      " names with commas in quotes.")
    cells = dict(zip(header, row, strict=False))
    track = os.path.normpath(cells["file"]).replace(os.sep, "/")
    if not cells["file"]:
      raise UserError(f"{table}, line {line}: the file is not named.")
    if track in tracks:
      raise UserError(f"{table}, line {line}: {track} was listed in line {tracks[track]} already;"
                      " put all its genres in one line, joined by ';'.")
    tracks[track] = line
    names = [name.strip() for name in cells.get("genre", "").split(";") if name.strip()]
    unknown = tuple(name[1:].strip() for name in names if name.startswith("?"))
    labels = tuple(name for name in names if not name.startswith("?"))
    if both := set(labels) & set(unknown):
      raise UserError(f"{table}, line {line}: {min(both)} is both held and unknown.")
    if not labels:
      unlabelled += 1
      continue
    side = cells.get("side", "")
    if side not in ("", *SIDES):
      raise UserError(f"{table}, line {line}: side is {side!r}: give {', '.join(SIDES)} or none.")
    group = cells.get("group", "")
    every.append(Clip(track, group or f"track:{track}", labels, track, has_group=bool(group),
                      side=side, unknown=unknown))
  notes = [f"{unlabelled} lines of {table} name no genre: left out"] if unlabelled else []
  return metadata_source("audio_table", request, every, (table.parent,), notes)
