"""Decide which genres to write into which files, and write them: `library tag`."""

import dataclasses
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from genre_jax.data.names import printable_path
from genre_jax.library import messages, tags
from genre_jax.library.changes import Journal, settle
from genre_jax.library.database import named_files, transaction
from genre_jax.library.label_names import tag_of, tags_of
from genre_jax.library.read_song import stat_of
from genre_jax.library.rewrite import Refused, refusal, rewrite
from genre_jax.library.tag_keys import HUMAN, JOINT, all_parts, by_human, written_genres

SAME = "has these genres already"
ANALYZED = (
  "SELECT file.id, path, size, mtime_ns, ctime_ns, label, probabilities, correction.genre"
  " FROM file JOIN analysis ON analysis.file = file.id AND analysis.model = ?"
  " LEFT JOIN correction USING (sound)"
  " WHERE status = 'ok' AND missing_since IS NULL"
)


@dataclasses.dataclass(frozen=True)
class Options:
  """What `tag` writes.

  Attributes:
    names: {key of a label: genre}, of `label_names.read_names`.
    min_confidence: Least probability of a genre.
    max_genres: Largest number of genres of a file.
    replace: 'none' for files without a genre, 'ours' for genres that this program wrote too, 'all'.
    preserve_mtime: Keep the time of the last change of a file.
  """

  names: dict[str, str]
  min_confidence: float
  max_genres: int = 1
  replace: str = "none"
  preserve_mtime: bool = False


@dataclasses.dataclass(frozen=True)
class Decision:
  """What to do with one file.

  Attributes:
    file: Id of the file.
    path: Its path.
    reason: Why nothing is written; '' if the genres are to be written.
    genres: The genres.
    confidence: The probability of the first.
    provenance: The tag about their origin.
    old: {place: genres} of the file now.
    stat: (size, mtime_ns, ctime_ns) that the file has now.
  """

  file: int
  path: str
  reason: str = ""
  genres: tuple[str, ...] = ()
  confidence: float = 0.0
  provenance: str = ""
  old: dict[str, list[str]] = dataclasses.field(default_factory=dict)
  stat: tuple[int, int, int] = (0, 0, 0)


def decide(
  db: sqlite3.Connection, model: dict[str, Any], options: Options, paths: Sequence[str] = ()
) -> Iterator[Decision]:
  """Decide for each file of the library that is there and was analyzed; only reads.

  Args:
    db: The library.
    model: The model whose analyses count, as of `database.find_model`.
    options: What is written.
    paths: Only these files and folders; none for all.

  Raises:
    UserError: If the library has no file of a path.
  """
  ranges = [named_files(db, path) for path in paths]
  for row in db.execute(f"{ANALYZED} ORDER BY path", (model["id"],)):
    if not ranges or any(row[1] == path or a <= row[1] < b for path, a, b in ranges):
      yield _decide(row, model, options)


def decide_song(
  db: sqlite3.Connection, model: dict[str, Any], options: Options, file: int
) -> Decision | None:
  """Decide for a file to which a human gave a genre; None if it is missing or has none now."""
  row = db.execute(f"{ANALYZED} AND file.id = ?", (model["id"], file)).fetchone()
  return _decide(row, model, options) if row and row[-1] else None


def _decide(row: tuple, model: dict[str, Any], options: Options) -> Decision:
  """Decide for a row of ANALYZED."""
  file, name, size, mtime, ctime, label, probabilities, corrected = row
  path = os.fsdecode(name)
  found = Decision(file, path, stat=(size, mtime, ctime))
  if corrected:
    genres, confidence, reason = _corrected(corrected, options)
  else:
    genres, confidence, reason = _genres(label, probabilities, model, options)
  if not reason:
    try:
      reason = refusal(path, os.stat(path))
      if not reason and stat_of(path)[:3] != found.stat:
        reason = "changed since the scan; scan again"
    except OSError as error:
      reason = f"cannot be read: {error.strerror or error}"
  if not reason:
    source = {"by": HUMAN} if corrected else {"model": model["name"], "hash": model["hash"][:8]}
    provenance = json.dumps(
      {"genres": genres, **source, "confidence": round(confidence, 3)}, ensure_ascii=False
    )
    known = tags.describe(path)
    reason = _reason(known, genres, provenance, options.replace, bool(corrected))
    found = dataclasses.replace(
      found,
      genres=tuple(genres),
      confidence=confidence,
      provenance=provenance,
      old=known.get("genres", {}),
    )
  return dataclasses.replace(found, reason=reason)


def _genres(label, probabilities, model, options) -> tuple[list[str], float, str]:
  """Return genres, confidence and the reason why there are none.

  The most probable label decides whether anything is written: what is speech gets no genre, even
  if one is probable too.
  """
  values = np.frombuffer(probabilities, np.float32)
  allowed = model["classes"] if model["task"] == "single_label" else label.split(";")
  ranked = [model["classes"][i] for i in np.argsort(-values, kind="stable")]
  chances = dict(zip(model["classes"], values.tolist(), strict=True))
  sure = [c for c in ranked if c in allowed and chances[c] >= options.min_confidence]
  if not sure:
    return [], 0.0, f"confidence below {options.min_confidence:g}"
  genres = dict.fromkeys(filter(None, (tag_of(name, options.names) for name in sure)))
  if not tag_of(sure[0], options.names):
    return [], 0.0, f"{sure[0]} is no genre"
  return list(genres)[: options.max_genres], chances[sure[0]], ""


def _corrected(text: str, options: Options) -> tuple[list[str], float, str]:
  """Return genres, confidence and the reason why there are none, of a human's correction."""
  genres = tags_of(text, options.names)
  return genres, 1.0, "" if genres else f"{text} is no genre"


def _reason(
  known: dict[str, Any], genres: list[str], provenance: str, replace: str, corrected: bool
) -> str:
  """Return why the genres are not written into a file with some tags; '' if they are.

  A human's correction replaces what this program wrote.
  """
  if "unreadable" in known:
    return known["unreadable"]
  present = all_parts(known["genres"])
  if not present:
    removed = known["provenance"] and not corrected and replace == "none"
    return "its genre was removed after genre_jax wrote it" if removed else ""
  if known["provenance"] == provenance and present == all_parts({"": genres}):
    return SAME
  ours = present <= written_genres(known["provenance"])
  if not corrected and by_human(known["provenance"]):
    ours = False
  if corrected and ours:
    return ""
  if replace == "none" or (replace == "ours" and not ours):
    return "has a genre that genre_jax wrote" if ours else "has a genre"
  return ""


def write(
  db: sqlite3.Connection, decisions: Sequence[Decision], options: Options, journal: Journal
) -> Iterator[tuple[Decision, str]]:
  """Write genres into files.

  Args:
    db: The library, which no other command may write.
    decisions: Those without a reason.
    options: What is written.
    journal: Records the changes.

  Yields:
    Each decision, and the reason why its file could not be written, or ''.
  """
  numbers = journal.queue((d.file, d.path, d.old, list(d.genres)) for d in decisions)
  for number, decision in zip(numbers, decisions, strict=True):
    yield decision, attempt(db, number, _write_one, db, decision, options, journal, number)
  journal.finish()


def attempt(db: sqlite3.Connection, number: int, act: Callable[..., None], *arguments) -> str:
  """Change a file by act(*arguments) and settle its row; return why that failed, or ''."""
  try:
    act(*arguments)
  except sqlite3.Error:
    raise
  except Exception as error:  # whatever is wrong with one file must not end the others
    return _reason_of(error)
  finally:
    settle(db, number)
  return ""


def _reason_of(error: Exception) -> str:
  """Return why a file could not be changed."""
  if isinstance(error, Refused | tags.TagError):
    return str(error)
  if isinstance(error, OSError):
    return f"cannot be written: {error.strerror or error}"
  return f"{type(error).__name__}: {error}"


def _write_one(db, decision, options, journal, number):
  path = os.path.realpath(decision.path)

  def make(source, copy):
    shutil.copyfileobj(source, copy)
    tags.edit(copy, lambda t: t.set_genres(list(decision.genres), decision.provenance))

  rewrite(
    path,
    journal.temporary(decision.path),
    make,
    lambda source, copy: journal.plan(number, source, copy),
    expected=decision.stat,
    preserve_mtime=options.preserve_mtime,
  )
  record(db, number, decision.file, decision.path, "written")


def record(db: sqlite3.Connection, number: int, file: int, path: str, state: str) -> None:
  """Record that a file was changed, so that the next scan finds it unchanged."""
  size, mtime, ctime, inode = stat_of(path)
  with transaction(db):
    db.execute("UPDATE change SET state = ? WHERE id = ?", (state, number))
    db.execute(
      "UPDATE file SET size = ?, mtime_ns = ?, ctime_ns = ?, inode = ?, tags = ? WHERE id = ?",
      (size, mtime, ctime, inode, json.dumps(tags.describe(path)), file),
    )


def run(
  db: sqlite3.Connection,
  model: dict[str, Any],
  options: Options,
  paths: Sequence[str],
  write_files: bool,
) -> int:
  """Print what `tag` would write, or write it; return the exit status.

  Args:
    db: The library.
    model: The model whose analyses count, as of `database.find_model`.
    options: What is written.
    paths: Only these files and folders; none for all.
    write_files: Write the files; no other command may write the library then.
  """
  todo, left, failed = [], [], []
  found = decide(db, model, options, paths)
  for decision in tqdm(found, unit="file", disable=None, leave=False):
    if decision.reason:
      left.append((decision.path, decision.reason))
      continue
    todo.append(decision)
    if not write_files:
      genres = JOINT.join(decision.genres)
      tqdm.write(f"{genres:16} {decision.confidence:.2f}  {printable_path(decision.path)}")
  if write_files and todo:
    messages.warn_of_times(options.preserve_mtime)
    journal = Journal(db, "tag", {"model": model["hash"], "replace": options.replace})
    written = write(db, todo, options, journal)
    count = 0
    try:
      for decision, reason in tqdm(
        written, total=len(todo), unit="file", disable=None, leave=False
      ):
        if reason:
          failed.append((decision.path, reason))
        else:
          count += 1
    finally:  # also after an interruption
      print(
        f"batch {journal.batch}: {count:,} files written, {len(failed):,} failed;"
        f" `genre-jax library undo --batch={journal.batch} --write` restores them",
        file=sys.stderr,
      )
  elif todo:
    print(f"{len(todo):,} files would get a genre; --write writes them", file=sys.stderr)
  else:
    print("no file gets a genre", file=sys.stderr)
  messages.print_left(left)
  messages.print_reasons(failed)
  return 1 if failed else 0
