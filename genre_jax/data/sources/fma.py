"""Source: FMA, the Free Music Archive (Defferrard and others, 2017), 106,574 tracks, 161 genres.

PATH contains `fma_metadata/` (tracks.csv and genres.csv) and `fma_small/`, `fma_medium/`,
`fma_large/` or `fma_full/` with files such as `000/000002.mp3`. tracks.csv has three header lines:
the kind (album, artist, set, track), the name, and 'track_id' alone. Groups are artists, and the
dataset has an official split. `config.dataset.subset` is 'small', 'medium' or 'large', each of
which includes the smaller ones, or '' for all existing files. After a comma follows 'genre_top'
(default: the one root genre, for single_label) or 'genres_all' (every genre with its parents, for
multi_label).
"""

import json

from genre_jax.data.source import Clip, Request, Source
from genre_jax.data.sources.metadata import find_table, metadata_source
from genre_jax.data.tables import check_first, columns_of, read_rows
from genre_jax.errors import UserError

HEADERS = ("album", "artist", "set", "track")  # of the first line
SIZES = ("small", "medium", "large")
LABELS = ("genre_top", "genres_all")
SPLITS = {"training": "train", "validation": "validation", "test": "test"}
COLUMNS = ("set split", "set subset", "artist id", "track genre_top", "track genres_all")


def open_fma(request: Request) -> Source:
  """Open a folder with the metadata and the audio as a source."""
  size, kind = _subset(request.subset)
  table = find_table(request, ("fma_metadata/tracks.csv", "tracks.csv"))
  titles = _titles(table.parent / "genres.csv") if kind == "genres_all" else {}
  rows = read_rows(table, HEADERS)
  heads = [next(rows, (0, []))[1] for _ in range(3)]
  if not heads[2] or heads[2][0] != "track_id" or len(heads[0]) != len(heads[1]):
    raise UserError(
      f"{table}: its third line must begin with track_id, below two lines of headers"
      " of equal length; it is not FMA's tracks.csv."
    )
  header = [f"{group} {name}" for group, name in zip(*heads[:2], strict=True)]
  split_column, subset_column, artist_column, genre_column, genres_column = columns_of(
    header, COLUMNS, table
  )
  all_clips, tracks, unlabeled, nameless = [], {}, 0, set()
  for line, row in rows:
    if len(row) != len(header) or not row[0].isdigit():
      raise UserError(
        f"{table}, line {line}: {len(row)} cells, the first {row[0]!r}; there must be"
        f" {len(header)} and a number."
      )
    track = f"{int(row[0]):06d}"
    check_first(tracks, track, table, line, "keep one of the lines")
    for column, values in ((split_column, SPLITS), (subset_column, SIZES)):
      if row[column] and row[column] not in values:
        raise UserError(
          f"{table}, line {line}: {header[column]} is {row[column]!r}: give"
          f" {', '.join(values)} or nothing."
        )
    if size and (
      row[subset_column] not in SIZES or SIZES.index(row[subset_column]) > SIZES.index(size)
    ):
      continue
    labels = (row[genre_column],) if row[genre_column] else ()
    if kind == "genres_all":
      ids = _ids(row[genres_column], table, line)
      nameless |= {number for number in ids if number not in titles}
      labels = tuple(dict.fromkeys(titles[number] for number in ids if number in titles))
    if not labels:
      unlabeled += 1
      continue
    group = f"artist-{row[artist_column]}" if row[artist_column] else f"track:{track}"
    all_clips.append(
      Clip(
        track,
        group,
        labels,
        f"{track[:3]}/{track}.mp3",
        has_group=bool(row[artist_column]),
        split=SPLITS.get(row[split_column], ""),
      )
    )
  notes = [f"{unlabeled} tracks have no {kind}: left out"] if unlabeled else []
  if nameless:
    notes.append(
      f"{len(nameless)} genre ids, such as {min(nameless)}, are not in genres.csv: ignored"
    )
  root = table.parent.parent if table.parent.name == "fma_metadata" else table.parent
  sizes = (size,) if size else (*SIZES, "full")
  roots = [root / f"fma_{name}" for name in dict.fromkeys((*sizes, *SIZES, "full"))]
  return metadata_source("fma", request, all_clips, [*roots, root], notes)


def _subset(text: str) -> tuple[str, str]:
  """Return (size, kind) of a subset: 'medium,genres_all' gives ('medium', 'genres_all')."""
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
  """Return {genre id: title} of genres.csv."""
  rows = read_rows(path, ("genre_id", "title"))
  _, header = next(rows, (0, []))
  number, title = columns_of(header, ("genre_id", "title"), path)
  try:
    return {int(row[number]): row[title] for _, row in rows}
  except (ValueError, IndexError) as error:
    raise UserError(f"{path}: a line is not FMA's genres.csv: {error}.") from error


def _ids(cell: str, table, line: int) -> list[int]:
  """Return the numbers of a cell such as '[10, 76]'."""
  try:
    ids = json.loads(cell or "[]")
    if isinstance(ids, list) and all(type(number) is int for number in ids):
      return ids
  except ValueError:
    pass
  raise UserError(f"{table}, line {line}: genres_all is {cell!r}, not a list such as [10, 76].")
