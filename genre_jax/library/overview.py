"""Report on a library, export it, and remove files from it: `library status|export|forget`."""

import csv
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from genre_jax.data.names import printable_path
from genre_jax.library.database import named_files
from genre_jax.library.output import new_text, output_file
from genre_jax.library.tag_keys import values_of

COLUMNS = (
  "file",
  "status",
  "genre",
  "confidence",
  "model",
  "correction",
  "artist",
  "album",
  "title",
  "tag_genres",
  "seconds",
  "missing_since",
  "error",
)
SHOWN = 8  # labels, and reasons of failures
SHOWN_BATCHES = 5


def status(db: sqlite3.Connection, model: dict[str, Any] | None) -> list[str]:
  """Return the lines of `library status`.

  Args:
    db: The library.
    model: The model whose genres are counted, as of `find_model`; None if nothing was analyzed.
  """
  counts = db.execute("SELECT status, COUNT(*), COUNT(missing_since) FROM file GROUP BY 1")
  there, missing = {"ok": 0, "failed": 0}, 0
  for state, count, gone in counts:
    there[state] = count - gone
    missing += gone
  lines = [
    f"{sum(there.values()) + missing:,} files: {there['ok']:,} readable,"
    f" {there['failed']:,} failed, {missing:,} missing"
  ]
  for number, name, digest in db.execute("SELECT id, name, hash FROM model ORDER BY used DESC"):
    (analyzed,) = db.execute("SELECT COUNT(*) FROM analysis WHERE model = ?", (number,)).fetchone()
    lines.append(f"model {name} ({digest[:8]}): {analyzed:,} analyzed")
  if model:
    labels = db.execute(
      "SELECT label, COUNT(*) FROM analysis WHERE model = ? GROUP BY label ORDER BY 2 DESC",
      (model["id"],),
    ).fetchall()
    lines.append("genres: " + _most(labels))
  (corrected,) = db.execute(
    "SELECT COUNT(DISTINCT sound) FROM correction JOIN file USING (sound)"
  ).fetchone()
  if corrected:
    lines.append(f"genres given by humans in `library serve`: {corrected:,}")
  failures = db.execute(
    "SELECT error, COUNT(*) FROM file WHERE status = 'failed' GROUP BY error ORDER BY 2 DESC"
  ).fetchall()
  lines += [f"  failed, {count:,}: {reason}" for reason, count in failures[:SHOWN]]
  for number, kind, started, states in db.execute(
    "SELECT batch.id, kind, started, (SELECT group_concat(state || ' ' || n, ', ') FROM"
    " (SELECT state, COUNT(*) AS n FROM change WHERE batch = batch.id GROUP BY state))"
    " FROM batch WHERE kind = 'tag' ORDER BY batch.id DESC LIMIT ?",
    (SHOWN_BATCHES,),
  ):
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(started))
    lines.append(f"batch {number}, {kind}, {when}: {states or 'no files'}")
  return lines


def _most(pairs: Sequence[tuple[str, int]]) -> str:
  more = f" and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
  return ", ".join(f"{name} {count:,}" for name, count in pairs[:SHOWN]) + more or "none"


def forget(db: sqlite3.Connection, paths: Sequence[str]) -> int:
  """Remove files from the library; the files themselves and the changes for `undo` remain.

  Args:
    db: The library.
    paths: Files and folders; none for all files that are marked as missing.

  Returns:
    The number of files removed.

  Raises:
    UserError: If the library has no file of a path; then none is removed.
  """
  if not paths:
    return db.execute("DELETE FROM file WHERE missing_since IS NOT NULL").rowcount
  count = 0
  for names in [named_files(db, path) for path in paths]:
    count += db.execute("DELETE FROM file WHERE path = ? OR path >= ? AND path < ?", names).rowcount
  return count


def rows(db: sqlite3.Connection, model: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
  """Yield the files of a library by path, as {column: value} with the COLUMNS."""
  for path, state, error, missing, seconds, tags, label, confidence, corrected in db.execute(
    "SELECT path, status, error, missing_since, seconds, tags, label, confidence, correction.genre"
    " FROM file LEFT JOIN analysis ON analysis.file = file.id AND analysis.model = ?"
    " LEFT JOIN correction USING (sound) ORDER BY path",
    (model["id"] if model else None,),
  ):
    known = json.loads(tags)
    yield {
      "file": printable_path(os.fsdecode(path)),
      "status": state,
      "genre": label or "",
      "confidence": None if confidence is None else round(confidence, 4),
      "model": model["name"] if model and label is not None else "",
      "correction": corrected or "",
      "artist": known.get("artist", ""),
      "album": known.get("album", ""),
      "title": known.get("title", ""),
      "tag_genres": values_of(known.get("genres", {})),
      "seconds": None if seconds is None else round(seconds, 2),
      "missing_since": missing and time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(missing)),
      "error": error,
    }


def export(found: Iterator[dict[str, Any]], kind: str, file: TextIO) -> int:
  """Write rows as 'csv' or 'jsonl'; return their number."""
  count = 0
  table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
  if kind == "csv":
    table.writeheader()
  for row in found:
    if kind == "csv":
      table.writerow({**row, "tag_genres": ";".join(row["tag_genres"])})
    else:
      file.write(json.dumps(row, ensure_ascii=False) + "\n")
    count += 1
  return count


def export_to(path: str, found: Iterator[dict[str, Any]], kind: str) -> int:
  """Write rows to a file, which appears complete or not at all; return their number.

  Raises:
    UserError: If the file cannot be written.
  """
  with new_text(output_file(path)) as file:
    return export(found, kind, file)
