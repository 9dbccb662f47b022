"""Search, filter and sort the songs of a library, some at a time."""

import dataclasses
import json
import os
import sqlite3
from typing import Any

import numpy as np

from genre_jax.data.names import printable_path
from genre_jax.errors import UserError
from genre_jax.library import database
from genre_jax.library.tag_keys import parts_of, values_of

MAX_WORDS = 16  # of a search
FEW = 5000  # songs that are sorted; more are read in the order of an index
# What the songs can be sorted by: an index has each order.
ORDERS = {
  "confidence": ("confidence", "file"),
  "genre": ("label", "confidence", "analysis.rowid"),
  "artist": (database.SORTED["artist"], "file.id"),
  "title": (database.SORTED["title"], "file.id"),
  "path": ("path",),
}
ORDERS_OF_FILES = ("artist", "title", "path")
# The labels of a model, by one search of the index for each; DISTINCT reads the whole index.
LABELS = (
  "WITH RECURSIVE labels(label) AS (SELECT MIN(label) FROM analysis WHERE model = :model UNION ALL"
  " SELECT (SELECT MIN(label) FROM analysis WHERE model = :model AND label > labels.label)"
  " FROM labels WHERE label IS NOT NULL) SELECT label FROM labels WHERE label IS NOT NULL"
)
CORRECTED = "SELECT id FROM correction JOIN file USING (sound)"
REVIEWED = f"SELECT id FROM file WHERE {database.HUMAN_GENRE}"


class UnknownSong(UserError):
  """There is no song with this id of a file.

  Args:
    file: The id.
  """

  def __init__(self, file: int):
    super().__init__(f"id={file}: the library has no such song")


@dataclasses.dataclass(frozen=True)
class Track:
  """A song as the page and its JSON show it.

  Attributes:
    id: Id of the file in the library.
    path: Path of the file, in printable characters.
    title: Title in its tags, or the name of the file.
    artist: Artist in its tags, or ''.
    album: Album in its tags, or ''.
    seconds: Length.
    genre: Genre that the model gives it; several are joined by ';'.
    confidence: Highest probability.
    tag_genres: Genres in its tags.
    correction: Genre that a human gave it in the page, or ''.
  """

  id: int
  path: str
  title: str
  artist: str
  album: str
  seconds: float
  genre: str
  confidence: float
  tag_genres: list[str]
  correction: str


@dataclasses.dataclass(frozen=True)
class Filter:
  """Which songs are listed.

  Attributes:
    words: Beginnings of words that title, artist, album or path must have, in any order.
    genre: A label that the model or a human gives; '' for any.
    min_confidence: Least confidence.
    max_confidence: Largest confidence.
    unreviewed: Only songs to which no human gave a genre.
  """

  words: str = ""
  genre: str = ""
  min_confidence: float = 0.0
  max_confidence: float = 1.0
  unreviewed: bool = False


def find_tracks(
  db: sqlite3.Connection,
  model: int,
  chosen: Filter,
  order: str = "path",
  *,
  descending: bool = False,
  offset: int = 0,
  limit: int = 50,
) -> tuple[int, list[Track]]:
  """Find songs.

  Args:
    db: The library.
    model: Id of the model whose genres count.
    chosen: Which songs.
    order: A key of ORDERS; songs that are equal in it are in a fixed order.
    descending: Begin with the last ones.
    offset: Number of songs to leave out at the beginning.
    limit: Largest number of songs.

  Returns:
    The number of all these songs, and some of them.
  """
  db.execute("BEGIN")  # a scan does not change the library between the queries
  try:
    return _find_tracks(db, model, chosen, order, descending, offset, limit)
  finally:
    db.execute("COMMIT")


def _find_tracks(db, model, chosen, order, descending, offset, limit):
  where, values = _condition(db, model, chosen)
  (total,) = db.execute(f"SELECT COUNT(*) FROM analysis WHERE {where}", values).fetchone()
  tables = "analysis"
  if order in ORDERS_OF_FILES:  # CROSS JOIN: the first table is the outer loop
    tables = "file CROSS JOIN analysis" if total > FEW else "analysis CROSS JOIN file"
    where += " AND file.id = analysis.file"
  direction = " DESC" if descending else ""
  keys = ", ".join(key + direction for key in ORDERS[order])
  rows = db.execute(
    f"SELECT analysis.file FROM {tables} WHERE {where} ORDER BY {keys} LIMIT ? OFFSET ?",
    (*values, limit, offset),
  ).fetchall()
  return total, [read_track(db, model, file) for (file,) in rows]


def _condition(db: sqlite3.Connection, model: int, chosen: Filter) -> tuple[str, list[Any]]:
  """Return the condition of a query on the table `analysis`, and its values."""
  where = f"analysis.model = ? AND analysis.file NOT IN ({database.AWAY})"
  values: list[Any] = [model]
  if words := chosen.words.replace("\0", " ").split()[:MAX_WORDS]:
    # A table, because several queries use it.
    db.execute("CREATE TABLE IF NOT EXISTS temp.found (id INTEGER PRIMARY KEY)")
    db.execute("DELETE FROM temp.found")
    found = db.execute(
      "INSERT INTO temp.found SELECT rowid FROM file_words WHERE file_words MATCH ?",
      (" ".join('"' + word.replace('"', '""') + '"*' for word in words),),
    )
    outer = "" if found.rowcount <= FEW else "+"  # with a plus, it is not the outer loop
    where += f" AND {outer}analysis.file IN temp.found"
  if chosen.genre:
    labels = [label for (label,) in db.execute(LABELS, {"model": model})]
    corrected = f"{CORRECTED} WHERE instr('; ' || genre || '; ', '; ' || ? || '; ')"
    where += f" AND (label IN (SELECT value FROM json_each(?)) OR analysis.file IN ({corrected}))"
    values += [json.dumps([t for t in labels if chosen.genre in parts_of(t)]), chosen.genre]
  if chosen.min_confidence > 0:
    where += " AND confidence >= ?"
    values.append(chosen.min_confidence)
  if chosen.max_confidence < 1:
    where += " AND confidence <= ?"
    values.append(chosen.max_confidence)
  if chosen.unreviewed:
    where += f" AND analysis.file NOT IN ({REVIEWED} UNION ALL {CORRECTED})"
  return where, values


def read_track(db: sqlite3.Connection, model: int, file: int) -> Track:
  """Return a song by the id of its file.

  Raises:
    UnknownSong: If the library has no such song, or it was not analyzed by the model.
  """
  row = db.execute(
    "SELECT file.id, path, seconds, tags, label, confidence, correction.genre FROM file"
    " JOIN analysis ON analysis.file = file.id AND analysis.model = ?"
    " LEFT JOIN correction USING (sound)"
    " WHERE file.id = ? AND missing_since IS NULL AND status = 'ok'",
    (model, file),
  ).fetchone()
  if row is None:
    raise UnknownSong(file)
  return _track(row)


def read_probabilities(
  db: sqlite3.Connection, model: dict[str, Any], file: int
) -> dict[str, float]:
  """Return {label: probability} of a song, the most probable first; {} without an analysis.

  Args:
    db: The library.
    model: The model, as of `database.find_model`.
    file: Id of the file.
  """
  row = db.execute(
    "SELECT probabilities FROM analysis WHERE model = ? AND file = ?", (model["id"], file)
  ).fetchone()
  values = np.frombuffer(row[0] if row else b"", np.float32)
  order = np.argsort(-values, kind="stable")
  return {model["classes"][i]: round(float(values[i]), 4) for i in order}


def genre_counts(db: sqlite3.Connection, model: int) -> dict[str, int]:
  """Return {label: number of songs} of the labels that a model gives, the most frequent first."""
  counts: dict[str, int] = {}
  for label, count in db.execute(
    "SELECT label, COUNT(*) FROM analysis"
    f" WHERE model = ? AND file NOT IN ({database.AWAY}) GROUP BY label",
    (model,),
  ):
    for part in parts_of(label):
      counts[part] = counts.get(part, 0) + count
  return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _track(row: tuple) -> Track:
  file, path, seconds, tags, label, confidence, correction = row
  known = json.loads(tags)
  name = os.fsdecode(path)
  return Track(
    file,
    printable_path(name),
    _valid(known.get("title", "")) or printable_path(os.path.basename(name)),
    _valid(known.get("artist", "")),
    _valid(known.get("album", "")),
    round(seconds or 0.0, 2),
    label,
    round(confidence, 4),
    list(map(_valid, values_of(known.get("genres", {})))),
    correction or "",
  )


def _valid(text: str) -> str:
  """Return text that can be encoded as UTF-8; damaged tags have surrogates."""
  return text.encode("utf-8", "replace").decode()
