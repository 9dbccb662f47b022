"""Answers as files: JSON lines, CSV, Parquet; each goes on after an interruption.

Stands after `tracks.py`. A file of answers is appended to answer by answer; what it holds when a
command starts again is not asked again.
"""

import contextlib
import csv
import io
import json
import os
import pathlib
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from genre_jax.errors import UserError
from genre_jax.files import write_whole
from genre_jax.inference.model import Model
from genre_jax.inference.predict_files import Prediction

FORMATS = ("table", "jsonl", "csv", "parquet")
Row = dict[str, Any]


def columns(classes: Iterable[str], timeline: bool) -> list[str]:
  """Names of the columns."""
  span = ["start", "end"] if timeline else []
  return [
    "file",
    *span,
    "status",
    "model",
    "genre",
    "confidence",
    *(f"p_{name}" for name in classes),
    "error",
  ]


def flat_rows(prediction: Prediction, timeline: bool) -> list[Row]:
  """An answer as rows for CSV and Parquet: one, and after it one a span of its timeline."""
  whole = {
    "file": prediction.file,
    "status": prediction.status,
    "model": prediction.model,
    "error": prediction.error or None,
  }
  rows = []
  for part in (prediction, *(prediction.timeline if timeline else ())):
    row = {
      **whole,
      "genre": part.genre or None,
      "confidence": _rounded(part.confidence),
      **_named(part.probabilities),
    }
    if part is not prediction:
      row |= {"start": round(part.start, 3), "end": round(part.end, 3)}
    rows.append(row)
  return rows


def json_row(prediction: Prediction, timeline: bool) -> Row:
  """An answer as one JSON object; the timeline is a list in it."""
  row = {
    "file": prediction.file,
    "status": prediction.status,
    "model": prediction.model,
    "genre": prediction.genre or None,
    "confidence": _rounded(prediction.confidence),
    **_named(prediction.probabilities),
    "error": prediction.error or None,
  }
  if timeline:
    row["timeline"] = [
      {
        "start": round(span.start, 3),
        "end": round(span.end, 3),
        "genre": span.genre,
        "confidence": _rounded(span.confidence),
        **_named(span.probabilities),
      }
      for span in prediction.timeline
    ]
  return row


def _named(probabilities):
  return {f"p_{name}": _rounded(value) for name, value in probabilities.items()}


def _rounded(value):
  return None if value is None else round(value, 6)


def _of_files(rows: Iterable[Row]) -> dict[str, Row]:
  """{file: its row}, without the rows of its timeline, which come after."""
  held: dict[str, Row] = {}
  for row in rows:
    held.setdefault(row["file"], row)
  return held


class Lines:
  """Answers as lines of CSV or JSON, appended to a file or printed.

  Args:
    path: the file; None prints.
    kind: 'csv' or 'jsonl'.
    names: the columns.
    timeline: whether answers have one.

  Attributes:
    held: the row of each file as a whole that was there before.
  """

  def __init__(self, path: pathlib.Path | None, kind: str, names: list[str], timeline: bool):
    self._kind, self._names, self._timeline = kind, names, timeline
    self.held: dict[str, Row] = {}
    self._path = path
    head = self._csv([dict(zip(names, names, strict=True))]) if kind == "csv" else ""
    if path is None:
      self._file = sys.stdout
      self._file.write(head)
      return
    path = _regular(path)
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      text = path.read_text(encoding="utf-8") if path.exists() else ""
      kept = self._read(path, text, head or '{"file": ') if text else ""
      if kept != text or not text:
        write_whole(path, kept or head)
      self._file = open(path, "a", encoding="utf-8", newline="")
    except UnicodeDecodeError as error:
      raise _not_predictions(path, "it is no text") from error
    except OSError as error:
      raise _unusable(path, error) from error

  def _csv(self, rows):
    text = io.StringIO()
    csv.DictWriter(text, self._names, lineterminator="\n").writerows(rows)
    return text.getvalue()

  def _read(self, path, text, begin):
    """Takes over the answers that are whole; returns their text. A file of answers begins so."""
    lines = text.splitlines(keepends=True)
    if not lines[-1].endswith("\n"):  # torn off in the middle
      torn = lines.pop()
      if not lines and torn[: len(begin)] != begin[: len(torn)]:
        raise _not_predictions(path, "its line is none")
    try:
      if self._kind == "csv":
        if lines and next(csv.reader(lines[:1])) != self._names:
          raise _other_columns(path)
        rows = list(csv.DictReader(lines, restval=None))
        if self._timeline and rows:
          # The last file's spans may not all be there.
          last = rows[-1]["file"]
          rows = [row for row in rows if row["file"] != last]
          lines = lines[: 1 + len(rows)]
        if any(None in row.values() or None in row for row in rows):
          raise ValueError("a row has not as many values as there are columns")
      else:
        rows = [json.loads(line) for line in lines]
        for row in rows:
          known = {*self._names, "timeline"} - {"start", "end"}
          if set(row) - known or ("timeline" in row) != self._timeline:
            raise _other_columns(path)
      self.held = _of_files({**row, "confidence": float(row["confidence"] or 0)} for row in rows)
    except (ValueError, KeyError, TypeError, csv.Error) as error:
      raise _not_predictions(path, error) from error
    return "".join(lines)

  def write(self, prediction: Prediction) -> None:
    """Adds an answer, unless it was there before."""
    if prediction.file in self.held:
      return
    if self._kind == "csv":
      text = self._csv(flat_rows(prediction, self._timeline))
    else:
      text = json.dumps(json_row(prediction, self._timeline)) + "\n"
    with _writing(self._path):
      self._file.write(text)
      self._file.flush()

  def close(self) -> None:
    """Ends the file."""
    if self._file is not sys.stdout:
      with _writing(self._path):
        self._file.close()


class Parquet:
  """Rows of a Parquet file, which appears at the end; until then they wait in FILE.partial.jsonl.

  Args:
    path: the file.
    flag: how it was given, for messages.
    fields: column names and kinds, 'string', 'number' or 'numbers'.
    rows_of: an Answer's rows.

  Attributes:
    held: the row of each file as a whole that was there before.
  """

  def __init__(self, path: pathlib.Path, flag: str, fields: dict[str, str], rows_of):
    self._arrow, self._parquet = _pyarrow(flag)
    arrow = self._arrow
    kinds = {
      "string": arrow.string(),
      "number": arrow.float64(),
      "numbers": arrow.list_(arrow.float32()),
    }
    self._schema = arrow.schema([(name, kinds[kind]) for name, kind in fields.items()])
    path = _regular(path)
    self._path, self._rows_of, self._old = path, rows_of, None
    self._journal_path = path.with_name(path.name + ".partial.jsonl")
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      rows = []
      if path.exists():
        self._old = self._parquet.read_table(path)
        if self._old.schema.names != self._schema.names:
          raise _other_columns(path)
        rows = self._old.to_pylist()
      waiting = []
      if self._journal_path.exists():
        for line in self._journal_path.read_text(encoding="utf-8").splitlines(keepends=True):
          if line.endswith("\n"):
            waiting.append(json.loads(line))
        if any(set(row) - set(self._schema.names) for part in waiting for row in part):
          raise _other_columns(self._journal_path)
        rows += [row for part in waiting for row in part]
      self.held = _of_files(rows)
      write_whole(self._journal_path, "".join(json.dumps(part) + "\n" for part in waiting))
      self._journal = open(self._journal_path, "a", encoding="utf-8")
    except (OSError, ValueError, TypeError, KeyError, arrow.ArrowException) as error:
      raise _unusable(path, error) from error

  def write(self, prediction: Prediction) -> None:
    """Adds an answer, unless it was there before."""
    if prediction.file not in self.held and (rows := self._rows_of(prediction)):
      with _writing(self._journal_path):
        self._journal.write(json.dumps(rows) + "\n")
        self._journal.flush()

  def close(self) -> None:
    """Makes the Parquet file of all that waits."""
    with _writing(self._path):
      self._journal.close()
      self._make()

  def _make(self):
    temporary = self._path.with_name(self._path.name + ".tmp")
    with self._parquet.ParquetWriter(temporary, self._schema) as writer:
      if self._old is not None:
        writer.write_table(self._old.cast(self._schema))
      waiting: list[Row] = []
      with open(self._journal_path, encoding="utf-8") as lines:
        for line in lines:
          waiting += json.loads(line)
          if len(waiting) >= 10_000:
            writer.write_table(self._arrow.Table.from_pylist(waiting, self._schema))
            waiting = []
      writer.write_table(self._arrow.Table.from_pylist(waiting, self._schema))
    os.replace(temporary, self._path)
    self._journal_path.unlink()


def predictions_as_parquet(path: pathlib.Path, names: list[str], timeline: bool) -> Parquet:
  """The file of --format=parquet."""
  text = ("file", "status", "model", "genre", "error")
  return Parquet(
    path,
    "--format=parquet",
    {name: "string" if name in text else "number" for name in names},
    lambda prediction: flat_rows(prediction, timeline),
  )


def embeddings_as_parquet(path: pathlib.Path) -> Parquet:
  """The file of --embeddings: a row a track that was heard."""

  def rows_of(prediction):
    if prediction.embedding is None:
      return []
    return [
      {
        "file": prediction.file,
        "model": prediction.model,
        "embedding": prediction.embedding.tolist(),
      }
    ]

  return Parquet(
    path, "--embeddings", {"file": "string", "model": "string", "embedding": "numbers"}, rows_of
  )


def _pyarrow(flag):
  try:
    import pyarrow
    import pyarrow.parquet
  except ImportError as error:
    raise UserError(
      f"{flag} needs the package pyarrow: pip install pyarrow, or"
      " pip install '.[parquet]' in the checkout"
    ) from error
  return pyarrow, pyarrow.parquet


def _not_predictions(path, why):
  return UserError(f"--out={path} holds something else than answers ({why}); give another file")


def _other_columns(path):
  return UserError(
    f"{path} holds answers of another model or form; give another file, or delete it"
  )


def _regular(path: pathlib.Path) -> pathlib.Path:
  """Where a path leads; UserError for what is there and no file, as /dev/null."""
  path = path.resolve()
  if path.exists() and not path.is_file():
    raise UserError(f"{path} is no file: give another")
  return path


def check_continued(held: dict[str, Row], model: Model, min_confidence: float) -> None:
  """Raises UserError if a file that is to be continued holds answers to another question."""
  for row in held.values():
    if row["model"] != model.name:
      raise UserError(
        f"--out or --embeddings holds answers of the model {row['model']}: give"
        f" another file for those of {model.name}"
      )
    if "genre" in row and row["status"] == "ok":
      prediction = np.array([float(row[f"p_{name}"]) for name in model.classes])
      # Half a digit either way: that is how they are written.
      if row["genre"] not in {
        model.decide_label(prediction + change, min_confidence)[0] for change in (-1e-6, 0, 1e-6)
      }:
        raise UserError(
          f"--out holds an answer, {row['genre']} with {row['confidence']:.2f}, that"
          f" --min_confidence={min_confidence:g} does not give: give the value that"
          " the file was begun with, or another file"
        )


@contextlib.contextmanager
def _writing(path):
  """Turns a full disk into a UserError; the same command goes on from what was written."""
  try:
    yield
  except OSError as error:
    if path is None:  # standard output; see command_line.py
      raise
    raise _unusable(path, error) from error


def _unusable(path, error):
  return UserError(
    f"{path}: cannot be read or written"
    f" ({getattr(error, 'strerror', None) or str(error).splitlines()[0]})"
  )
