"""Choose similar songs, with limits per artist and album and without near duplicates."""

import dataclasses
import fnmatch
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from genre_jax.data.names import name_key, printable_path
from genre_jax.errors import UserError
from genre_jax.library.database import absolute
from genre_jax.library.embeddings import NEAR, Embeddings

CANDIDATES = 200  # tracks that are ranked first; more if the limits leave too few


@dataclasses.dataclass(frozen=True)
class Limits:
  """What is chosen.

  Attributes:
    count: Number of songs.
    per_artist: Songs of one artist; 0 for no limit. Songs without this tag are not limited.
    per_album: Songs of one album of one artist; 0 for no limit.
    max_distance: Largest distance; None for no limit.
    exclude: Patterns of paths, as of `fnmatch`.
  """

  count: int = 20
  per_artist: int = 2
  per_album: int = 1
  max_distance: float | None = None
  exclude: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Song:
  """A song of the library.

  Attributes:
    file: Id of the file.
    path: Its path.
    artist, album, title: As its tags have them, or ''.
    seconds: Its length.
    sound: Hash of its sound.
    distance: Cosine distance to what was asked for.
  """

  file: int
  path: str
  artist: str
  album: str
  title: str
  seconds: float
  sound: bytes
  distance: float = 0.0

  @property
  def name(self) -> str:
    """Artist and title, or the name of the file."""
    stem = os.path.splitext(os.path.basename(self.path))[0]
    return " - ".join(filter(None, [self.artist, self.title])) if self.title else stem


def read_song(db: sqlite3.Connection, file: int, distance: float = 0.0) -> Song:
  """Return a song by the id of its file."""
  path, tags, seconds, sound = db.execute(
    "SELECT path, tags, seconds, sound FROM file WHERE id = ?", (file,)
  ).fetchone()
  known = json.loads(tags)
  return Song(
    file,
    os.fsdecode(path),
    known.get("albumartist") or known.get("artist", ""),
    known.get("album", ""),
    known.get("title", ""),
    seconds or 0.0,
    sound or b"",
    distance,
  )


def find_song(db: sqlite3.Connection, path: str) -> int:
  """Return the id of a file of the library.

  Raises:
    UserError: If the library does not contain it.
  """
  row = db.execute(
    "SELECT id, status, error FROM file WHERE path = ?", (absolute(path),)
  ).fetchone()
  if row is None:
    shown = printable_path(path)
    raise UserError(f"{shown}: is not in the library: run `genre-jax library scan` on its folder")
  if row[1] != "ok":
    raise UserError(f"{path}: was not analyzed: {row[2]}")
  return row[0]


class Choice:
  """Songs chosen one after the other within limits.

  Args:
    limits: The limits; those per artist and album do not count the given songs.
    given: Songs that are known already, and are not chosen again.
  """

  def __init__(self, limits: Limits, given: Sequence[Song] = ()):
    self.limits = limits
    self._artists: Counter[str] = Counter()
    self._albums: Counter[tuple[str, str]] = Counter()
    self._files = {song.file for song in given}
    self._sounds = {song.sound for song in given}
    self._names = {_name(song) for song in given}
    self.songs: list[Song] = []

  def add(self, song: Song) -> bool:
    """Choose a song if the limits allow it; return whether they do."""
    limits = self.limits
    artist = name_key(song.artist)
    album = (artist, name_key(song.album))
    if (
      song.file in self._files
      or (song.sound and song.sound in self._sounds)
      or (song.title and _name(song) in self._names)
      or (limits.max_distance is not None and song.distance > limits.max_distance)
      or (limits.per_artist and artist and self._artists[artist] >= limits.per_artist)
      or (limits.per_album and song.album and self._albums[album] >= limits.per_album)
      or any(fnmatch.fnmatch(song.path, pattern) for pattern in limits.exclude)
    ):
      return False
    self._artists[artist] += 1
    self._albums[album] += 1
    self._files.add(song.file)
    self._sounds.add(song.sound)
    self._names.add(_name(song))
    self.songs.append(song)
    return True


def _name(song: Song) -> tuple[str, str]:
  return name_key(song.artist), name_key(song.title)


def similar(
  db: sqlite3.Connection,
  embeddings: Embeddings,
  seeds: Sequence[int],
  limits: Limits,
) -> list[Song]:
  """Return the songs nearest to some songs, the nearest first.

  Args:
    db: The library.
    embeddings: Its embeddings.
    seeds: Ids of files.
    limits: What is chosen.

  Raises:
    UserError: If a seed has no embedding.
  """
  vectors = seed_vectors(db, embeddings, seeds)
  choice = Choice(limits, [read_song(db, seed) for seed in seeds])
  fill(db, embeddings, mean_vector(vectors), choice, limits.count, vectors)
  return choice.songs


def seed_vectors(db, embeddings: Embeddings, seeds: Sequence[int]) -> np.ndarray:
  """Return the vectors of songs, float32[seeds, features].

  Raises:
    UserError: If a seed has no embedding.
  """
  indices = [embeddings.index(seed) for seed in seeds]
  if -1 in indices:
    path = read_song(db, seeds[indices.index(-1)]).path
    raise UserError(f"{path}: was not analyzed by this model, or is missing; scan its folder")
  return embeddings.vectors(indices)


def mean_vector(vectors: np.ndarray) -> np.ndarray:
  """Return the mean direction of vectors of length 1."""
  mean = vectors.mean(0)
  return mean / max(float(np.linalg.norm(mean)), 1e-6)


def fill(
  db: sqlite3.Connection,
  embeddings: Embeddings,
  vector: np.ndarray,
  choice: Choice,
  count: int,
  near: np.ndarray,
) -> None:
  """Choose the songs nearest to a vector until `count` are chosen or none is left.

  Args:
    db: The library.
    embeddings: Its embeddings.
    vector: float32[features], of length 1.
    choice: Gets the songs.
    count: Number of songs in `choice` at the end.
    near: float32[songs, features] of songs whose near duplicates are left out.
  """
  for index, distance in _candidates(
    embeddings, vector, max(CANDIDATES, 10 * count), choice.limits
  ):
    if len(choice.songs) >= count:
      return
    own = embeddings.vectors([index])
    if (1 - near @ own[0] < NEAR).any():
      continue
    if choice.add(read_song(db, int(embeddings.ids[index]), distance)):
      near = np.concatenate([near, own])


def _candidates(embeddings, vector, number, limits) -> Iterator[tuple[int, float]]:
  """Yield (index, distance), the nearest first; look further away as long as they are used up."""
  seen: set[int] = set()
  most = len(embeddings)
  if limits.max_distance is not None:
    most = int((embeddings.distances(vector) <= limits.max_distance).sum())
  while len(seen) < most:
    number = min(number, most)
    for index, distance in zip(*embeddings.ranked(vector, number), strict=True):
      if int(index) not in seen:
        seen.add(int(index))
        yield int(index), float(distance)
    number *= 8
