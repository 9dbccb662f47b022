"""Search the embeddings of a library: exact, centered, with local scaling against hubs.

Hubs are tracks that are near to very many others in a space of many dimensions. Local scaling
divides a distance by how far the neighbors of a track are (Zelnik-Manor and Perona, 2004: Self-
tuning spectral clustering; Schnitzer et al., 2012: Local and global scaling reduce hubs in space).
"""

import sqlite3
from typing import Any

import numpy as np

from genre_jax.errors import UserError
from genre_jax.library.database import AWAY

ROWS = 1 << 14  # rows that are converted at a time; bounds memory
SAMPLE = 10_000  # tracks among which neighbors for local scaling are sought
SCALED = 1 << 10  # tracks whose neighbors are sought at a time; bounds memory
NEIGHBORS = 10
# Recordings nearer than this are encodings of one recording; see docs/how-to/library.md.
NEAR = 0.05
# {numbers of an embedding: those that are searched}. That of musicnn_yamnet has several parts, and
# the largest numbers would decide. The penultimate layer of musicnn finds more songs of the same
# genre and artist; see docs/how-to/library.md.
SEARCHED = {1923: slice(128, 328)}


class Embeddings:
  """The embeddings of the tracks that are there, by one model.

  Args:
    db: The library.
    model: The model, as of `database.find_model`.
    columns: The numbers of an embedding that are searched; None for those of SEARCHED, or all.

  Attributes:
    ids: int64[tracks], ids of the files, increasing.

  Raises:
    UserError: If there are none.
  """

  def __init__(self, db: sqlite3.Connection, model: dict[str, Any], columns: slice | None = None):
    where = f" FROM analysis WHERE model = ? AND embedding != x'' AND file NOT IN ({AWAY})"
    db.execute("BEGIN")  # one state of the library, while `scan` may write
    try:
      self._read(db, model, where, columns)
    finally:
      db.execute("COMMIT")
    self._vectors -= self._vectors.mean(0)
    for first in range(0, len(self), ROWS):  # a copy of all would double the memory
      rows_now = self._vectors[first : first + ROWS]
      rows_now /= np.maximum(np.linalg.norm(rows_now, axis=1, keepdims=True), 1e-6)
    self._sample = self._vectors[:: -(-len(self) // SAMPLE)]

  def _read(self, db, model, where, columns):
    count, size = db.execute(
      f"SELECT COUNT(*), MAX(length(embedding)) {where}", (model["id"],)
    ).fetchone()
    if not count:
      raise UserError(
        f"the library has no embeddings by {model['name']}: scan with a model that has them, as"
        " `genre-jax library scan --model=axis_features_10 FOLDER`"
      )
    self.ids = np.empty(count, np.int64)
    columns = columns or SEARCHED.get(size // 2, slice(None))
    self._vectors = np.empty((count, len(range(size // 2)[columns])), np.float32)
    rows = db.execute(f"SELECT file, embedding {where} ORDER BY file", (model["id"],))
    done = 0
    while part := rows.fetchmany(ROWS):
      end = done + len(part)
      self.ids[done:end] = [row[0] for row in part]
      raw = b"".join([row[1] for row in part])
      self._vectors[done:end] = np.frombuffer(raw, np.float16).reshape(len(part), -1)[:, columns]
      done = end

  def __len__(self) -> int:
    return len(self.ids)

  def index(self, file: int) -> int:
    """Return the index of a file, or -1 if it has no embedding."""
    place = int(np.searchsorted(self.ids, file))
    return place if place < len(self) and self.ids[place] == file else -1

  def vectors(self, indices: np.ndarray | list[int]) -> np.ndarray:
    """Return centered embeddings of length 1, float32[indices, features]."""
    return self._vectors[indices]

  def distances(self, vector: np.ndarray) -> np.ndarray:
    """Return the cosine distances of all tracks to a vector of length 1.

    Args:
      vector: float32[features], as of `vectors`.

    Returns:
      float32[tracks], from 0 for the same direction to 2.
    """
    return 1 - self._vectors @ vector

  def scales(self, indices: np.ndarray) -> np.ndarray:
    """Return the mean distance of tracks to their nearest neighbors, float32[indices].

    Neighbors are sought among up to SAMPLE tracks. Other encodings of the same recording are not
    counted, so that they do not make a track look remote.
    """
    count = min(NEIGHBORS, len(self._sample))
    scales = np.empty(len(indices), np.float32)
    for first in range(0, len(indices), SCALED):
      distances = 1 - self.vectors(indices[first : first + SCALED]) @ self._sample.T
      distances[distances < NEAR] = 2
      nearest = np.partition(distances, count - 1, axis=1)[:, :count]
      scales[first : first + SCALED] = nearest.mean(1)
    return scales

  def ranked(self, vector: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest tracks to a vector, reordered by local scaling.

    Args:
      vector: float32[features], of length 1.
      count: Number of tracks.

    Returns:
      int64[count] indices, and float32[count] cosine distances before scaling.
    """
    distances = self.distances(vector)
    count = min(count, len(self))
    nearest = np.argpartition(distances, count - 1)[:count]
    order = np.argsort(distances[nearest] / np.sqrt(self.scales(nearest)), kind="stable")
    return nearest[order], distances[nearest[order]]
