"""Record each change of a music file before it happens, so that a crash can be settled.

A change is 'queued' before its file is copied, 'planned' before the copy gets the file's name, and
'written' after it. An undo makes it 'undoing', then 'undone'. After a crash the hash of the file
decides which of both it is.
"""

import contextlib
import hashlib
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Iterable
from typing import Any, BinaryIO

from genre_jax.library import delta
from genre_jax.library.database import transaction
from genre_jax.library.rewrite import temporary_path


def file_hash(file: BinaryIO) -> bytes:
  """Return the SHA-256 of an open file."""
  file.seek(0)
  return hashlib.file_digest(file, "sha256").digest()  # type: ignore[arg-type]


def hash_of(path: str | bytes) -> bytes | None:
  """Return the SHA-256 of a file; None if it cannot be read."""
  try:
    with open(path, "rb") as file:
      return file_hash(file)
  except OSError:
    return None


class Journal:
  """The record of one run of `tag` or `undo`.

  Args:
    db: The library; this is the only command that writes it.
    kind: 'tag' or 'undo'.
    arguments: What the command was given.

  Attributes:
    batch: Id of the run.
  """

  def __init__(self, db: sqlite3.Connection, kind: str, arguments: dict[str, Any]):
    self._db, self._token = db, secrets.token_hex(8)
    cursor = db.execute(
      "INSERT INTO batch (kind, started, arguments) VALUES (?, ?, ?)",
      (kind, time.time(), json.dumps(arguments)),
    )
    self.batch = cursor.lastrowid or 0

  def queue(self, entries: Iterable[tuple[int, str, dict, list[str]]]) -> list[int]:
    """Record changes that will be made.

    Args:
      entries: (id of the file, path, {place: genres} now, genres to write).

    Returns:
      The ids of the changes.
    """
    numbers = []
    with transaction(self._db):
      for file, path, old, new in entries:
        cursor = self._db.execute(
          "INSERT INTO change (batch, file, path, state, temporary, old, new)"
          " VALUES (?, ?, ?, 'queued', ?, ?, ?)",
          (
            self.batch,
            file,
            os.fsencode(path),
            os.fsencode(self.temporary(path)),
            json.dumps(old),
            json.dumps(new),
          ),
        )
        numbers.append(cursor.lastrowid or 0)
    return numbers

  def queue_undo(self, changes: Iterable[tuple[int, str]]) -> None:
    """Record that changes will be undone: (id, path of the file)."""
    with transaction(self._db):
      self._db.executemany(
        "UPDATE change SET state = 'undoing', temporary = ?, path = ? WHERE id = ?",
        [
          (os.fsencode(self.temporary(path)), os.fsencode(path), number) for number, path in changes
        ],
      )

  def temporary(self, path: str) -> str:
    """Return the path of the hidden copy of a file."""
    return temporary_path(os.path.realpath(path), self._token)

  def plan(self, number: int, old: BinaryIO, new: BinaryIO) -> None:
    """Record the new content of a file and how to make the old one from it.

    Raises:
      ValueError: If the old content cannot be restored from the record.
    """
    stored = delta.encode(old, new)
    before, after = file_hash(old), file_hash(new)
    restored = hashlib.sha256()
    delta.decode(stored, new, restored.update)
    if restored.digest() != before:
      raise ValueError("the change could not be undone")
    self._db.execute(
      "UPDATE change SET state = 'planned', before = ?, after = ?, delta = ? WHERE id = ?",
      (before, after, stored, number),
    )

  def finish(self) -> None:
    """Record that the run has ended."""
    with transaction(self._db):
      self._db.execute("DELETE FROM change WHERE batch = ? AND state = 'queued'", (self.batch,))
      self._db.execute("UPDATE batch SET finished = ? WHERE id = ?", (time.time(), self.batch))


def settle(db: sqlite3.Connection, number: int | None = None) -> list[str]:
  """Decide what became of changes that were interrupted; remove the copies that they left.

  Args:
    db: The library; no other command may write it.
    number: The change; None for all.

  Returns:
    Paths of files that are neither the old nor the new one, or cannot be read.
  """
  unclear = []
  for change, path, state, temporary, before, after in db.execute(
    "SELECT id, path, state, temporary, before, after FROM change"
    " WHERE state IN ('queued', 'planned', 'undoing') AND id = ifnull(?, id)",
    (number,),
  ).fetchall():
    with contextlib.suppress(OSError):
      os.unlink(temporary)
    now = hash_of(path) if state != "queued" else None
    if state != "queued" and now is None:  # its disk may not be mounted
      unclear.append(os.fsdecode(path))
      continue
    if state == "queued" or (state == "planned" and now == before):
      db.execute("DELETE FROM change WHERE id = ?", (change,))
      continue
    if now not in (before, after):
      unclear.append(os.fsdecode(path))
    done = "undone" if state == "undoing" and now == before else "written"
    db.execute("UPDATE change SET state = ? WHERE id = ?", (done, change))
  if number is None:
    db.execute("UPDATE batch SET finished = ? WHERE finished IS NULL", (time.time(),))
  return unclear
