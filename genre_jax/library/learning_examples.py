"""Read the songs of a library whose genre is known: examples for `learn.py`."""

import dataclasses
import json
import os
import sqlite3
from typing import Any

import numpy as np

from genre_jax.data.names import name_key, normal_name, printable_path
from genre_jax.data.tables import check_cells, check_first, columns_of, read_rows
from genre_jax.errors import UserError
from genre_jax.library.label_names import read_names, tags_of
from genre_jax.library.tag_keys import by_human, parts_of, written_genres

MIN_ARTISTS = 2  # of a genre: training and evaluation need different ones
COLUMNS = ("file", "genre")
GROUP = "group"  # a further column: artist


@dataclasses.dataclass(frozen=True)
class Examples:
  """Songs with a genre.

  Attributes:
    paths: Paths of the files.
    groups: Artist of each song, or its folder where the artist is unknown.
    labels: int[songs], indices of `genres`.
    features: float32[songs, features], the embeddings.
    genres: The genres, sorted.
    left_out: Genres with too few artists, with their numbers of artists.
    notes: What of the user's table was not used, as sentences.
  """

  paths: tuple[str, ...]
  groups: tuple[str, ...]
  labels: np.ndarray
  features: np.ndarray
  genres: tuple[str, ...]
  left_out: dict[str, int]
  notes: tuple[str, ...] = ()


def read_examples(db: sqlite3.Connection, model: int, table: str = "") -> Examples:
  """Return the songs of a library that have a genre and an embedding.

  Args:
    db: The library.
    model: Id of the model with the embeddings.
    table: CSV file with the columns file and genre, and group if artists are not in the tags; ''
      for the genres that humans gave: in `library serve`, else in the files' tags, without those
      that this program wrote.

  Raises:
    UserError: If fewer than two genres have enough artists, or the table cannot be used.
  """
  listed = _read_table(table) if table else {}
  found, analyzed = [], set()
  names = read_names()
  for path, text, embedding, corrected in db.execute(
    "SELECT path, tags, embedding, correction.genre FROM file"
    " JOIN analysis ON analysis.file = file.id LEFT JOIN correction USING (sound)"
    " WHERE model = ? AND status = 'ok' AND missing_since IS NULL AND embedding != x''"
    " ORDER BY path",
    (model,),
  ):
    known = json.loads(text)
    artist = known.get("albumartist") or known.get("artist", "")
    analyzed.add(path)
    if not table:
      genre = _corrected(corrected, names) or _human_genre(known)
    else:
      genre, group = listed.get(path, ("", ""))
      artist = group or artist
    if genre:
      group = name_key(artist) or os.fsdecode(os.path.dirname(path))
      found.append((os.fsdecode(path), group, genre, embedding))
  notes = _notes(table, listed, analyzed)
  spellings: dict[str, str] = {}
  artists: dict[str, set[str]] = {}
  for _, group, genre, _ in found:
    spellings.setdefault(name_key(genre), genre)
    artists.setdefault(name_key(genre), set()).add(group)
  kept = sorted(key for key, names in artists.items() if len(names) >= MIN_ARTISTS)
  left_out = {spellings[key]: len(names) for key, names in artists.items() if key not in kept}
  if len(kept) < 2:
    counts = ", ".join(f"{spellings[key]} {len(names)}" for key, names in artists.items())
    raise UserError(
      f"two genres with {MIN_ARTISTS} artists each are needed to learn; artists by genre:"
      f" {counts or 'none'}. {'; '.join(notes) or 'Tag more songs'}, or give"
      f" {'another ' if table else ''}--from=FILE with the columns file and genre"
    )
  rows = [row for row in found if name_key(row[2]) in kept]
  return Examples(
    tuple(row[0] for row in rows),
    tuple(row[1] for row in rows),
    np.array([kept.index(name_key(row[2])) for row in rows]),
    np.stack([np.frombuffer(row[3], np.float16).astype(np.float32) for row in rows]),
    tuple(spellings[key] for key in kept),
    left_out,
    notes,
  )


def _notes(
  table: str, listed: dict[bytes, tuple[str, str]], analyzed: set[bytes]
) -> tuple[str, ...]:
  """Return sentences on the lines of a table that cannot be used."""
  unknown = [path for path in listed if path not in analyzed]
  empty = [path for path, (genre, _) in listed.items() if not genre]
  found = []
  for paths, words in ((unknown, "not in the library"), (empty, "without a genre")):
    if paths:
      first = printable_path(os.fsdecode(paths[0]))
      found.append(f"{len(paths)} of {len(listed)} files in {table} are {words}, first {first}")
  return tuple(found)


def _corrected(text: str | None, names: dict[str, str]) -> str:
  """Return the first genre of a correction, or '' without one."""
  return (tags_of(text, names) or parts_of(text))[0] if text else ""


def _human_genre(known: dict[str, Any]) -> str:
  """Return the first genre that a human wrote into the tags of a file, or ''."""
  provenance = known.get("provenance", "")
  ours = set() if by_human(provenance) else written_genres(provenance)
  for values in known.get("genres", {}).values():
    for genre in (part for text in values for part in parts_of(text)):
      if genre and genre not in ours:
        return normal_name(genre)
  return ""


def _read_table(path: str) -> dict[bytes, tuple[str, str]]:
  """Return {path: (genre, group)} of a user's table; paths are relative to its folder."""
  rows = read_rows(path, COLUMNS)
  _, header = next(rows, (1, []))
  names = [*COLUMNS, GROUP] if GROUP in map(name_key, header) else COLUMNS
  indices = columns_of(header, names, path)
  folder = os.path.dirname(os.path.abspath(path))
  found = {}
  lines: dict[str, int] = {}
  for line, row in rows:
    check_cells(row, header, path, line)
    file, genre, *group = [row[index] for index in indices]
    name = os.path.normpath(os.path.join(folder, os.path.expanduser(file)))
    check_first(lines, name, path, line, "remove one of the lines")
    found[os.fsencode(name)] = normal_name(genre), "".join(group)
  return found
