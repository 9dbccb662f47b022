"""Write corrections into the tags of songs while `library serve --write` runs."""

import concurrent.futures
import pathlib
import sqlite3
from typing import Any

from genre_jax.errors import UserError
from genre_jax.inference.output_lock import OutputLock
from genre_jax.library import changes, database, tagging


class CorrectionWriter:
  """Write corrections into the tags of songs, all as one batch that `undo` restores.

  Args:
    path: File of the library.
    model: The model, as of `database.find_model`.
    options: What is written.
  """

  def __init__(self, path: pathlib.Path, model: dict[str, Any], options: tagging.Options):
    self._path, self._model, self._options = path, model, options
    # One thread has the connection and the journal.
    self._thread = concurrent.futures.ThreadPoolExecutor(1)
    self._db: sqlite3.Connection | None = None
    self._journal: changes.Journal | None = None

  def write(self, file: int) -> str:
    """Write the correction of a song; return why its tags do not have it now, or ''."""
    return self._thread.submit(self._write, file).result()

  def _write(self, file: int) -> str:
    try:
      lock = OutputLock(self._path.resolve())
    except UserError:
      return "another command writes the library; `library tag --write` writes it later"
    try:
      self._db = self._db or database.open_database(self._path)
      changes.settle(self._db)
      decision = tagging.decide_song(self._db, self._model, self._options, file)
      if decision is None:
        return "the file is missing, or its genre was taken back"
      if decision.reason:
        return "" if decision.reason == tagging.SAME else decision.reason
      if self._journal is None:
        self._journal = changes.Journal(self._db, "tag", {"model": self._model["hash"]})
      [(_, reason)] = tagging.write(self._db, [decision], self._options, self._journal)
      return reason
    finally:
      lock.release()

  def close(self) -> None:
    """Wait for the last file and close the library."""
    self._thread.submit(self._close).result()
    self._thread.shutdown()

  def _close(self) -> None:
    if self._db:
      self._db.close()
