"""FMA, the Free Music Archive's dataset (Defferrard and others, 2017): 106,574 tracks, 161 genres.

A source. PATH holds `fma_metadata/` (tracks.csv and genres.csv) and `fma_small/`, `fma_medium/`,
`fma_large/` or `fma_full/` with files as `000/000002.mp3`. tracks.csv has three lines of headers:
the kind (album, artist, set, track), the name, and 'track_id' alone. Groups are artists.
`config.dataset.subset` is 'small', 'medium' or 'large', where each holds the smaller ones ('': what
is there), then, after a comma, 'genre_top' (default: the one root genre, for single_label) or
'genres_all' (every genre with its parents, for multi_label). The official split is the set's own.
"""

import json

from genre_jax.data.source import Clip, Request, Source
from genre_jax.data.sources.metadata import (
  check_first,
  columns_of,
  find_table,
  metadata_source,
  read_rows,
)
from genre_jax.errors import UserError

SIZES = ("small", "medium", "large")
LABELS = ("genre_top", "genres_all")
SPLITS = {"training": "train", "validation": "validation", "test": "test"}
COLUMNS = ("set split", "set subset", "artist id", "track genre_top", "track genres_all")


def open_fma(request: Request) -> Source:
  """The source of a folder with the metadata and the audio."""
  size, kind = _subset(request.subset)
  table = find_table(request, ("fma_metadata/tracks.csv", "tracks.csv"))
  titles = _titles(table.parent / "genres.csv") if kind == "genres_all" else {}
  rows = read_rows(table)
  heads = [next(rows, (0, []))[1] for _ in range(3)]
  if not heads[2] or heads[2][0] != "track_id" or len(heads[0]) != len(heads[1]):
    raise UserError(
      f"{table}: its third line must begin with track_id, below two lines of headers"
      " of equal length; it is not FMA's tracks.csv."
    )
  header = [f"{group} {name}" for group, name in zip(*heads[:2], strict=True)]
  assignment, subset, artist, top, every_genre = columns_of(header, COLUMNS, table)
  every, tracks, unlabeled, nameless = [], {}, 0, set()
  for line, row in rows:
    if len(row) != len(header) or not row[0].isdigit():
      raise UserError(
        f"{table}, line {line}: {len(row)} cells, the first {row[0]!r}; there must be"
        f" {len(header)} and a number."
      )
    track = f"{int(row[0]):06d}"
    check_first(tracks, track, table, line, "keep one of the lines")
    for column, values in ((assignment, SPLITS), (subset, SIZES)):
      if row[column] and row[column] not in values:
        raise UserError(
          f"{table}, line {line}: {header[column]} is {row[column]!r}: give"
          f" {', '.join(values)} or none."
        )
    if size and (row[subset] not in SIZES or SIZES.index(row[subset]) > SIZES.index(size)):
      continue
    labels = (row[top],) if row[top] else ()
    if kind == "genres_all":
      ids = _ids(row[every_genre], table, line)
      nameless |= {number for number in ids if number not in titles}
      labels = tuple(dict.fromkeys(titles[number] for number in ids if number in titles))
    if not labels:
      unlabeled += 1
      continue
    group = f"artist-{row[artist]}" if row[artist] else f"track:{track}"
    every.append(
      Clip(
        track,
        group,
        labels,
        f"{track[:3]}/{track}.mp3",
        has_group=bool(row[artist]),
        split=SPLITS.get(row[assignment], ""),
      )
    )
  notes = [f"{unlabeled} tracks have no {kind}: left out"] if unlabeled else []
  if nameless:
    notes.append(f"{len(nameless)} genre ids, as {min(nameless)}, are not in genres.csv: ignored")
  root = table.parent.parent if table.parent.name == "fma_metadata" else table.parent
  sizes = (size,) if size else (*SIZES, "full")
  roots = [root / f"fma_{name}" for name in dict.fromkeys((*sizes, *SIZES, "full"))]
  return metadata_source("fma", request, every, [*roots, root], notes)


def _subset(text: str) -> tuple[str, str]:
  """'medium,genres_all' as ('medium', 'genres_all')."""
  size, kind = "", LABELS[0]
  for word in filter(None, (word.strip() for word in text.split(","))):
    if word in SIZES:
      size = word
    elif word in LABELS:
      kind = word
    else:
      raise UserError(
        f"--config.dataset.subset={text}: fma has {', '.join(SIZES)} and, after a"
        f" comma, {' or '.join(LABELS)}."
      )
  return size, kind


def _titles(path) -> dict[int, str]:
  """{genre id: title} of genres.csv."""
  rows = read_rows(path)
  _, header = next(rows, (0, []))
  number, title = columns_of(header, ("genre_id", "title"), path)
  try:
    return {int(row[number]): row[title] for _, row in rows}
  except (ValueError, IndexError) as error:
    raise UserError(f"{path}: a line is not FMA's genres.csv: {error}.") from error


def _ids(cell: str, table, line: int) -> list[int]:
  """'[10, 76]' as numbers."""
  try:
    ids = json.loads(cell or "[]")
    if isinstance(ids, list) and all(type(number) is int for number in ids):
      return ids
  except ValueError:
    pass
  raise UserError(f"{table}, line {line}: genres_all is {cell!r}, not a list such as [10, 76].")
