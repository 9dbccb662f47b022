"""Bring a library up to date with the files in folders: `library scan`.

Unchanged files are skipped. Worker processes read the others; the network runs in threads of this
process, and only for sound that the model has not analyzed yet, or on the machines of a Ray
cluster. Work is committed as it is done, so that an interrupted scan resumes.
"""

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Sequence

from tqdm import tqdm

from genre_jax.inference.model import Model
from genre_jax.inference.predict_files import find_files
from genre_jax.library import corrections, database, messages
from genre_jax.library.analysis import analyze, with_analysis
from genre_jax.library.database import beneath, register_model, transaction
from genre_jax.library.read_song import Analysis, Song, stat_of

SAME_SECONDS = 1.0  # between the lengths of a song and of its new encoding


@dataclasses.dataclass
class Report:
  """Counts of a scan.

  Attributes:
    counts: Files by what was done: 'unchanged', 'analyzed', 'moved', 'copied', 'tags read again',
      'failed', 'failed before', 'missing'.
    failures: (path, reason) of files and folders that could not be used.
    passed_over: Other files in the folders, by extension.
  """

  counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
  failures: list[tuple[str, str]] = dataclasses.field(default_factory=list)
  passed_over: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


def run(
  db: sqlite3.Connection,
  model: Model,
  roots: Sequence[str],
  read: Callable[..., Generator[tuple[str, Song | str]]],
  retry: bool,
) -> int:
  """Scan folders with a progress bar, print what was done, and return the exit status.

  Args:
    db: The library.
    model: The loaded model.
    roots: Folders and files.
    read: Reads files in any order and calls `then` for each, as `read_song.read_songs`.
    retry: As of `Scan`.
  """
  report = Report()
  scan = Scan(db, model, report, retry)
  todo = scan.find(roots)
  try:
    with (
      contextlib.closing(read(todo, then=scan.with_new_analysis)) as songs,
      contextlib.closing(scan.store(songs)) as done,
    ):
      for _ in tqdm(done, total=len(todo), unit="file", disable=None, leave=False):
        pass
    scan.mark_missing()
  finally:
    print(*messages.scan_lines(report), sep="\n")
    messages.print_reasons(report.failures)
  return 1 if report.failures else 0


class Scan:
  """One scan of a library.

  Args:
    db: The library.
    model: The loaded model.
    report: Gets the counts.
    retry: Read files again that failed and have not changed.
  """

  def __init__(self, db: sqlite3.Connection, model: Model, report: Report, retry: bool = False):
    self._db, self._model, self._report, self._retry = db, model, report, retry
    self._id = register_model(db, model)
    (path,) = db.execute("SELECT CAST(file AS BLOB) FROM pragma_database_list").fetchone()
    self._path = pathlib.Path(os.fsdecode(path))
    self._seen: set[int] = set()

  def find(self, roots: Sequence[str]) -> list[str]:
    """Find the files that have to be read; mark the others as present, moved or missing.

    Args:
      roots: Folders and files.

    Returns:
      Paths of new and changed files.
    """
    todo: list[str] = []
    unreadable: list[str] = []
    present = []
    with transaction(self._db):
      for root in map(os.path.abspath, map(os.path.expanduser, roots)):
        if not os.path.exists(root):
          self._report.failures.append((root, "there is no such file or folder"))
          continue
        present.append(root)
      for path, fault in find_files(present, self._report.passed_over):
        if fault:
          unreadable.append(path)
          self._report.failures.append((path, fault))
        elif not self._is_done(path):
          todo.append(path)
    self._present, self._unreadable = present, unreadable
    return todo

  def _is_done(self, path: str) -> bool:
    """Return whether a file needs no reading; note that it is there."""
    try:
      size, mtime, ctime, inode = stat_of(path)
    except OSError:
      return False  # reading it reports the reason
    row = self._db.execute(
      "SELECT id, size, mtime_ns, ctime_ns, status, missing_since FROM file WHERE path = ?",
      (os.fsencode(path),),
    ).fetchone()
    moved = False
    if row is None:
      row = self._moved(path, inode, size, mtime)
      if row is None:
        return False
      self._db.execute(
        "UPDATE file SET path = ?, ctime_ns = ?, missing_since = NULL WHERE id = ?",
        (os.fsencode(path), ctime, row[0]),
      )
      row = (row[0], size, mtime, ctime, row[4], None)
      self._report.counts["moved"] += 1
      moved = True
    self._seen.add(row[0])
    if row[1:4] != (size, mtime, ctime):
      return False
    if row[5] is not None:
      self._db.execute("UPDATE file SET missing_since = NULL WHERE id = ?", (row[0],))
    if row[4] == "failed":
      if not self._retry:
        self._report.counts["failed before"] += 1
      return not self._retry
    if not self._analyzed(row[0]):
      return False
    if not moved:
      self._report.counts["unchanged"] += 1
    return True

  def _moved(self, path, inode, size, mtime):
    """Return the row of a file that was renamed to a path, as its inode shows."""
    for row in self._db.execute(
      "SELECT id, path, inode, size, status FROM file"
      " WHERE inode = ? AND size = ? AND mtime_ns = ?",
      (inode, size, mtime),
    ).fetchall():
      if _is_gone(row[1]):
        return row
    return None

  def _analyzed(self, file: int) -> bool:
    return bool(
      self._db.execute(
        "SELECT 1 FROM analysis WHERE model = ? AND file = ?", (self._id, file)
      ).fetchone()
    )

  def with_new_analysis(self, path: str, song: Song | str) -> Song | str:
    """Return a song with its analysis, unless its sound was analyzed before; from any thread."""
    if isinstance(song, Song) and song.sound:
      # A connection belongs to the thread that opened it.
      with contextlib.closing(database.open_database(self._path)) as db:
        if db.execute(
          "SELECT 1 FROM file JOIN analysis ON analysis.file = file.id"
          " WHERE file.sound = ? AND analysis.model = ?",
          (song.sound, self._id),
        ).fetchone():
          return song
    return with_analysis(path, song, self._model)

  def store(self, songs: Iterable[tuple[str, Song | str]]) -> Generator[str]:
    """Analyze and store songs.

    Args:
      songs: Path of each file and what `read_song` returned for it, perhaps with its analysis.

    Yields:
      Each path, when its file is done.
    """
    for path, song in songs:
      self._store(path, song)
      yield path

  def _store(self, path: str, song: Song | str) -> None:
    if isinstance(song, str):  # its process ended, or there is no such file
      reason = song
      try:
        song = Song(stat_of(path), {"genres": {}}, reason, None)
      except OSError:
        self._report.failures.append((path, reason))
        self._report.counts["failed"] += 1
        return
    with transaction(self._db):  # a short one: people may correct genres in the page meanwhile
      file, done = self._file_row(path, song)
    self._seen.add(file)
    if isinstance(song.track, str):
      self._report.failures.append((path, song.track))
      self._report.counts["failed"] += 1
      return
    if self._analyzed(file):
      self._report.counts[done or "tags read again"] += 1
      return
    analysis = song.track
    if not isinstance(analysis, Analysis):  # that of an equal sound is gone
      analysis = analyze(path, analysis, self._model)
    if analysis.error:
      self._db.execute(
        "UPDATE file SET status = 'failed', error = ? WHERE id = ?", (analysis.error, file)
      )
      self._report.failures.append((path, analysis.error))
      self._report.counts["failed"] += 1
      return
    self._report.counts["analyzed"] += 1  # first: a signal is handled after the next line
    self._db.execute(
      "INSERT INTO analysis (file, model, label, confidence, probabilities, embedding)"
      " VALUES (?, ?, ?, ?, ?, ?)",
      (
        file,
        self._id,
        analysis.label,
        analysis.confidence,
        analysis.probabilities,
        analysis.embedding,
      ),
    )

  def _file_row(self, path: str, song: Song) -> tuple[int, str]:
    """Insert or update the row of a file; return its id, and 'moved' or 'copied' if it is that."""
    failed = isinstance(song.track, str)
    seconds = None if isinstance(song.track, str) else song.track.seconds
    values = (
      os.fsencode(path),
      *song.stat,
      song.sound,
      seconds,
      json.dumps(song.tags),
      "failed" if failed else "ok",
      song.track if failed else "",
    )
    row = self._db.execute(
      "SELECT id, sound, seconds FROM file WHERE path = ?", (os.fsencode(path),)
    ).fetchone()
    if row is not None and failed:  # perhaps for a time: what was known remains
      self._db.execute(
        "UPDATE file SET size = ?, mtime_ns = ?, ctime_ns = ?, inode = ?, status = 'failed',"
        " error = ?, missing_since = NULL WHERE id = ?",
        (*song.stat, song.track, row[0]),
      )
      return row[0], ""
    others, done = [], ""
    if song.sound:
      others = self._db.execute(
        "SELECT id, path FROM file WHERE sound = ?", (song.sound,)
      ).fetchall()
    if row is None:
      for other, old in others:
        if _is_gone(old):
          row, done = (other, song.sound, None), "moved"
          break
    if row is not None:
      self._db.execute(
        "UPDATE file SET path = ?, size = ?, mtime_ns = ?, ctime_ns = ?, inode = ?, sound = ?,"
        " seconds = ?, tags = ?, status = ?, error = ?, missing_since = NULL WHERE id = ?",
        (*values, row[0]),
      )
      if row[1] != song.sound:  # other sound: what any model said of it is void
        self._db.execute("DELETE FROM analysis WHERE file = ?", (row[0],))
        same_length = abs((row[2] or 0) - (seconds or 0)) < SAME_SECONDS
        # Not the sound of another file, as when two songs have changed their names.
        if row[1] and song.sound and same_length and not others:
          corrections.carry(self._db, row[1], song.sound)
      file = row[0]
    else:
      file = self._db.execute(
        "INSERT INTO file (path, size, mtime_ns, ctime_ns, inode, sound, seconds, tags, status,"
        " error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        values,
      ).lastrowid
    for other, _ in others:
      if other != file and not self._analyzed(file):
        done = "copied"
        self._db.execute(
          "INSERT OR IGNORE INTO analysis (file, model, label, confidence, probabilities,"
          " embedding) SELECT ?, model, label, confidence, probabilities, embedding FROM analysis"
          " WHERE file = ?",
          (file, other),
        )
    return file, done

  def mark_missing(self) -> None:
    """Mark files of the scanned folders that are gone.

    Nothing is marked in a folder that is absent, has no music at all, or cannot be listed: a disk
    may not be mounted.
    """
    now = time.time()
    unlisted = [beneath(os.fsencode(folder)) for folder in self._unreadable]
    with transaction(self._db):
      for root in self._present:
        if os.path.isdir(root) and root not in self._unreadable:
          for file, path in self._db.execute(
            "SELECT id, path FROM file WHERE path >= ? AND path < ? AND missing_since IS NULL",
            beneath(os.fsencode(root)),
          ).fetchall():
            known = file in self._seen or any(first <= path < last for first, last in unlisted)
            if not known and _is_gone(path):
              self._db.execute("UPDATE file SET missing_since = ? WHERE id = ?", (now, file))
              self._report.counts["missing"] += 1


def _is_gone(path: bytes) -> bool:
  """Return True if there is no such file; an error that leaves it open counts as present."""
  try:
    os.lstat(path)
  except (FileNotFoundError, NotADirectoryError):
    return True
  except OSError:
    pass
  return False
