"""Restore files to what they were before `library tag` wrote them: `library undo`."""

import dataclasses
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Sequence

from tqdm import tqdm

from genre_jax.data.names import printable_path
from genre_jax.errors import UserError
from genre_jax.library import delta, messages, tags
from genre_jax.library.changes import Journal, file_hash, hash_of
from genre_jax.library.rewrite import Refused, refusal, rewrite
from genre_jax.library.tag_keys import all_parts
from genre_jax.library.tagging import attempt, record


@dataclasses.dataclass(frozen=True)
class Change:
  """A change that can be undone.

  Attributes:
    number: Its id.
    file: Id of the file.
    path: Path of the file now.
    before: SHA-256 of the file before the change.
    after: And after it.
    old: {place: genres} before the change.
    new: The genres that were written.
  """

  number: int
  file: int
  path: str
  before: bytes
  after: bytes
  old: dict[str, list[str]]
  new: list[str]


def find_batch(db: sqlite3.Connection, batch: int = 0) -> int:
  """Return the id of a batch with changes to undo: the given one, or 0 for the last.

  Raises:
    UserError: If no batch has such changes.
  """
  query = "SELECT DISTINCT batch FROM change WHERE state = 'written' ORDER BY batch DESC"
  numbers = [number for (number,) in db.execute(query)]
  if batch and batch not in numbers:
    known = ", ".join(map(str, numbers)) or "none"
    raise UserError(f"--batch={batch}: has no changes to undo; batches that have: {known}")
  if not numbers:
    raise UserError(
      "there are no changes to undo: `library tag --write` wrote none, or all are undone"
    )
  return batch or numbers[0]


def find_changes(db: sqlite3.Connection, batch: int) -> list[Change]:
  """Return the changes of a batch that were not undone yet, the last one first."""
  return [
    Change(number, file, os.fsdecode(path), before, after, json.loads(old), json.loads(new))
    for number, file, path, before, after, old, new in db.execute(
      "SELECT change.id, change.file, ifnull(file.path, change.path), before, after, old, new"
      " FROM change LEFT JOIN file ON file.id = change.file"
      " WHERE batch = ? AND state = 'written' ORDER BY change.id DESC",
      (batch,),
    )
  ]


def check(change: Change, genre_only: bool = False) -> str:
  """Return why a change, or the genre alone, cannot be undone; '' if it can."""
  now = hash_of(change.path)
  if now is None:
    return "cannot be read"
  if reason := refusal(change.path, os.stat(change.path)):
    return reason
  if genre_only:
    known = tags.describe(change.path)
    return known.get("unreadable") or _other_genre(change, known["genres"])
  return "" if now == change.after else "changed since; --genre_only restores its genre alone"


def _other_genre(change: Change, genres: dict[str, list[str]]) -> str:
  """Return a reason if genres of {place: genres} are not those that the change wrote, else ''."""
  same = all_parts(genres) == all_parts({"": change.new})
  return "" if same else "its genre was changed since"


def undo(
  db: sqlite3.Connection,
  changes: Sequence[Change],
  journal: Journal,
  *,
  genre_only: bool = False,
  preserve_mtime: bool = False,
) -> Iterator[tuple[Change, str]]:
  """Undo changes.

  Args:
    db: The library, which no other command may write.
    changes: Of `find_changes`.
    journal: Records the undo.
    genre_only: Restore the genres only, also of files that changed since.
    preserve_mtime: Keep the time of the last change of a file.

  Yields:
    Each change, and the reason why it could not be undone, or ''.
  """
  for change in changes:
    reason = check(change, genre_only)
    if not reason:
      journal.queue_undo([(change.number, change.path)])
      reason = attempt(
        db, change.number, _undo_one, db, change, journal, genre_only, preserve_mtime
      )
    yield change, reason
  journal.finish()


def _undo_one(db, change, journal, genre_only, preserve_mtime):
  (stored,) = db.execute("SELECT delta FROM change WHERE id = ?", (change.number,)).fetchone()

  def put_back(found):
    if reason := _other_genre(change, found.genres()):
      raise Refused(reason)
    found.put_back(change.old)

  def make(source, copy):
    if genre_only:
      shutil.copyfileobj(source, copy)
      tags.edit(copy, put_back)
      return
    delta.decode(stored, source, copy.write)
    copy.flush()
    if file_hash(copy) != change.before:
      raise Refused("changed since; --genre_only restores its genre alone")

  rewrite(
    os.path.realpath(change.path),
    journal.temporary(change.path),
    make,
    lambda source, copy: None,
    preserve_mtime=preserve_mtime,
  )
  record(db, change.number, change.file, change.path, "undone")


def run(
  db: sqlite3.Connection,
  batch: int,
  write_files: bool,
  *,
  genre_only: bool = False,
  preserve_mtime: bool = False,
) -> int:
  """Print what `undo` would restore, or restore it; return the exit status.

  Args:
    db: The library.
    batch: Id of the batch.
    write_files: Restore the files; no other command may write the library then.
    genre_only, preserve_mtime: As of `undo`.
  """
  changes = find_changes(db, batch)
  done: Iterator[tuple[Change, str]] = ((change, check(change, genre_only)) for change in changes)
  if write_files:
    messages.warn_of_times(preserve_mtime)
    journal = Journal(db, "undo", {"batch": batch})
    done = undo(db, changes, journal, genre_only=genre_only, preserve_mtime=preserve_mtime)
  failed = []
  for change, reason in tqdm(done, total=len(changes), unit="file", disable=None, leave=False):
    if reason:
      failed.append((change.path, reason))
    elif not write_files:
      tqdm.write(printable_path(change.path))
  what = "restored" if write_files else "would be restored"
  hint = "" if write_files else "; --write restores them"
  count = len(changes) - len(failed)
  print(f"batch {batch}: {count:,} files {what}, {len(failed):,} not{hint}", file=sys.stderr)
  messages.print_reasons(failed)
  return 1 if failed else 0
