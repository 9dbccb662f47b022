"""Write predictions as lines of JSON or CSV, and continue a file of an interrupted run."""

import json
import pathlib
import sys

from genre_jax.files import write_whole
from genre_jax.inference.earlier_lines import csv_text, read_earlier
from genre_jax.inference.output_file import disk_errors, regular_file
from genre_jax.inference.output_lock import OutputLock
from genre_jax.inference.predict_files import Prediction
from genre_jax.inference.prediction_rows import Row, flat_rows, json_row


class LinesWriter:
  """Append predictions to a CSV or JSON lines file, or print them.

  An existing file is continued. An incomplete last line is removed first. A file that a spreadsheet
  saved is first written again as this program writes it.

  Args:
    path: The file; None prints.
    kind: 'csv' or 'jsonl'.
    names: The columns.
    timeline: Whether predictions have a timeline.

  Attributes:
    existing: {file: row of the track} of the file before this run.

  Raises:
    UserError: If the file contains something else, has other columns, is being written by another
      command, or cannot be written.
  """

  def __init__(self, path: pathlib.Path | None, kind: str, names: list[str], timeline: bool):
    self._kind, self._names, self._timeline = kind, names, timeline
    self.existing: dict[str, Row] = {}
    self._path = path
    header = csv_text([names]) if kind == "csv" else ""
    if path is None:
      self._file = sys.stdout
      self._file.write(header)
      return
    path = regular_file(path)
    with disk_errors(path):
      self._lock = OutputLock(path)
      kept = before = ""
      if path.exists():
        self.existing, kept, before = read_earlier(path, kind, names, timeline)
      if kept != before or not before:
        write_whole(path, kept or header)
      self._file = open(path, "a", encoding="utf-8", newline="")

  def write(self, prediction: Prediction) -> None:
    """Append a prediction, unless the file contained one for the same file before this run."""
    if prediction.file in self.existing:
      return
    if self._kind == "csv":
      rows = flat_rows(prediction, self._timeline)
      text = csv_text([[row.get(name, "") for name in self._names] for row in rows])
    else:
      text = json.dumps(json_row(prediction, self._timeline)) + "\n"
    with disk_errors(self._path):
      self._file.write(text)
      self._file.flush()

  def close(self) -> None:
    """Close the file and let other commands write it."""
    if self._file is not sys.stdout:
      with disk_errors(self._path):
        self._file.close()
      self._lock.release()
