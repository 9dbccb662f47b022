"""What the page of `library serve` asks of a library: songs, their neighbors, corrections."""

import contextlib
import os
import pathlib
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

from genre_jax.library import browse, corrections, database, playlist
from genre_jax.library.correction_writer import CorrectionWriter
from genre_jax.library.embeddings import Embeddings
from genre_jax.library.similar import Limits, Song, similar


class LibraryService:
  """A library that several threads read, and in which they store corrections.

  Args:
    path: File of the library.
    model: The model, as of `database.find_model`.
    writer: Writes corrections into tags; None to change no music file.
  """

  def __init__(
    self, path: pathlib.Path, model: dict[str, Any], writer: CorrectionWriter | None = None
  ):
    self.model, self._path, self.writer = model, path, writer
    self._lock = threading.Lock()
    self._embeddings: Embeddings | None = None
    self._state: tuple[int, ...] = ()  # of the library when the embeddings were read

  @contextlib.contextmanager
  def open(self) -> Iterator[sqlite3.Connection]:
    """Open the library for one request.

    Raises:
      UserError: If the library cannot be used.
    """
    with contextlib.closing(database.open_database(self._path)) as db:
      try:
        yield db
      except sqlite3.Error as error:
        raise database.fault(self._path, error) from error

  def tracks(self, chosen: browse.Filter, **options: Any) -> tuple[int, list[browse.Track]]:
    """Find songs; arguments and result as of `browse.find_tracks`."""
    with self.open() as db:
      return browse.find_tracks(db, self.model["id"], chosen, **options)

  def track(self, file: int) -> browse.Track:
    """Return a song by the id of its file."""
    with self.open() as db:
      return browse.read_track(db, self.model["id"], file)

  def probabilities(self, file: int) -> dict[str, float]:
    """Return {label: probability} of a song, the most probable first."""
    with self.open() as db:
      return browse.read_probabilities(db, self.model, file)

  def genres(self) -> dict[str, int]:
    """Return {label: number of songs}, with all labels of the model, the most frequent first."""
    with self.open() as db:
      counts = browse.genre_counts(db, self.model["id"])
    return counts | dict.fromkeys([c for c in self.model["classes"] if c not in counts], 0)

  def file_of(self, file: int) -> str:
    """Return the path of a song.

    Raises:
      UnknownSong: If the library has no such song.
    """
    with self.open() as db:
      row = db.execute(
        "SELECT path FROM file WHERE id = ? AND missing_since IS NULL AND status = 'ok'", (file,)
      ).fetchone()
    if row is None:
      raise browse.UnknownSong(file)
    return os.fsdecode(row[0])

  def similar(self, file: int, limits: Limits) -> list[tuple[browse.Track, float]]:
    """Return the songs nearest to a song, with their similarities from 0 to 1."""
    with self.open() as db:
      browse.read_track(db, self.model["id"], file)
      return self._matches(db, similar(db, self._read_embeddings(db), [file], limits))

  def path(self, first: int, last: int, limits: Limits) -> list[tuple[browse.Track, float]]:
    """Return songs from one song to another, with their similarities to the points between."""
    with self.open() as db:
      for file in (first, last):
        browse.read_track(db, self.model["id"], file)
      embeddings = self._read_embeddings(db)
      return self._matches(db, playlist.path_between(db, embeddings, first, last, limits))

  def _matches(self, db: sqlite3.Connection, songs: list[Song]):
    """Return songs with similarities: 1 for the same embedding, 0 for the opposite one.

    OpenSubsonic's endpoints getSonicSimilarTracks and findSonicPath define these two values.
    """
    found = []
    for song in songs:
      with contextlib.suppress(browse.UnknownSong):  # it has gone since the embeddings were read
        track = browse.read_track(db, self.model["id"], song.file)
        found.append((track, round(1 - song.distance / 2, 4)))
    return found

  def _read_embeddings(self, db: sqlite3.Connection) -> Embeddings:
    """Return the embeddings; read them again if a scan has changed the library."""
    state = db.execute(
      "SELECT COUNT(*), ifnull(MAX(rowid), 0), total(file), (SELECT total(id) FROM file WHERE"
      " status != 'ok' OR missing_since IS NOT NULL) FROM analysis WHERE model = ?",
      (self.model["id"],),
    ).fetchone()
    with self._lock:
      if self._embeddings is None or state != self._state:
        self._embeddings, self._state = Embeddings(db, self.model), state
      return self._embeddings

  def correct(self, file: int, genre: str) -> tuple[browse.Track, str]:
    """Store the genre that a human gives to a song, and write it into its tags with a writer.

    Returns:
      The song, and the reason why its tags could not be written, or ''.
    """
    with self.open() as db:
      browse.read_track(db, self.model["id"], file)
      corrections.correct(db, file, genre)
      reason = self.writer.write(file) if self.writer else ""
      return browse.read_track(db, self.model["id"], file), reason

  def withdraw(self, file: int) -> browse.Track:
    """Remove the genre that a human gave to a song; its tags remain."""
    with self.open() as db:
      browse.read_track(db, self.model["id"], file)
      corrections.withdraw(db, file)
      return browse.read_track(db, self.model["id"], file)
