"""Write predictions as lines of JSON or CSV, and continue a file of an interrupted run."""

import csv
import io
import json
import pathlib
import sys

from genre_jax.errors import UserError
from genre_jax.files import write_whole
from genre_jax.inference.output_file import disk_errors, other_columns, regular_file, unusable
from genre_jax.inference.predict_files import Prediction
from genre_jax.inference.prediction_rows import Row, flat_rows, json_row, track_rows


class LinesWriter:
  """Append predictions to a CSV or JSON lines file, or print them.

  An existing file is continued. An incomplete last line is removed first.

  Args:
    path: The file; None prints.
    kind: 'csv' or 'jsonl'.
    names: The columns.
    timeline: Whether predictions have a timeline.

  Attributes:
    existing: {file: row of the track} of the file before this run.

  Raises:
    UserError: If the file contains something else, has other columns, or cannot be written.
  """

  def __init__(self, path: pathlib.Path | None, kind: str, names: list[str], timeline: bool):
    self._kind, self._names, self._timeline = kind, names, timeline
    self.existing: dict[str, Row] = {}
    self._path = path
    header = self._csv([dict(zip(names, names, strict=True))]) if kind == "csv" else ""
    if path is None:
      self._file = sys.stdout
      self._file.write(header)
      return
    path = regular_file(path)
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      text = path.read_text(encoding="utf-8") if path.exists() else ""
      kept = self._read(path, text, header or '{"file": ') if text else ""
      if kept != text or not text:
        write_whole(path, kept or header)
      self._file = open(path, "a", encoding="utf-8", newline="")
    except UnicodeDecodeError as error:
      raise _not_predictions(path, "it is not UTF-8 text") from error
    except OSError as error:
      raise unusable(path, error) from error

  def _csv(self, rows):
    text = io.StringIO()
    csv.DictWriter(text, self._names, lineterminator="\n").writerows(rows)
    return text.getvalue()

  def _read(self, path, text, beginning):
    """Set `existing` and return the text of the complete predictions.

    Args:
      path: The file, for messages.
      text: Its content, not empty.
      beginning: The text with which a file of predictions begins.
    """
    lines = text.splitlines(keepends=True)
    if not lines[-1].endswith("\n"):  # incomplete
      last = lines.pop()
      if not lines and last[: len(beginning)] != beginning[: len(last)]:
        raise _not_predictions(path, "its only line is not a prediction")
    try:
      if self._kind == "csv":
        if lines and next(csv.reader(lines[:1])) != self._names:
          raise other_columns(path)
        rows = list(csv.DictReader(lines, restval=None))
        if self._timeline and rows:
          # Spans of the last track may be missing.
          last_file = rows[-1]["file"]
          rows = [row for row in rows if row["file"] != last_file]
          lines = lines[: 1 + len(rows)]
        if any(None in row.values() or None in row for row in rows):
          raise ValueError("the number of values in a row differs from the number of columns")
      else:
        rows = [json.loads(line) for line in lines]
        for row in rows:
          known = {*self._names, "timeline"} - {"start", "end"}
          if set(row) - known or ("timeline" in row) != self._timeline:
            raise other_columns(path)
      self.existing = track_rows(
        {**row, "confidence": float(row["confidence"] or 0)} for row in rows
      )
    except (ValueError, KeyError, TypeError, csv.Error) as error:
      raise _not_predictions(path, error) from error
    return "".join(lines)

  def write(self, prediction: Prediction) -> None:
    """Append a prediction, unless the file contained one for the same file before this run."""
    if prediction.file in self.existing:
      return
    if self._kind == "csv":
      text = self._csv(flat_rows(prediction, self._timeline))
    else:
      text = json.dumps(json_row(prediction, self._timeline)) + "\n"
    with disk_errors(self._path):
      self._file.write(text)
      self._file.flush()

  def close(self) -> None:
    """Close the file."""
    if self._file is not sys.stdout:
      with disk_errors(self._path):
        self._file.close()


def _not_predictions(path, reason):
  return UserError(
    f"--out={path} contains something other than predictions ({reason}); give another file"
  )
