"""Write predictions and embeddings as Parquet, and continue a file of an interrupted run."""

import json
import pathlib
from collections.abc import Callable

from genre_jax.errors import UserError, missing_extra
from genre_jax.files import move_into_place, write_whole
from genre_jax.inference.output_file import (
  OPTIONAL_COLUMNS,
  disk_errors,
  other_columns,
  regular_file,
  unusable,
)
from genre_jax.inference.output_lock import OutputLock
from genre_jax.inference.predict_files import Prediction
from genre_jax.inference.prediction_rows import Row, embedding_rows, flat_rows, track_rows

ROWS_AT_ONCE = 10_000  # bounds memory


class ParquetWriter:
  """Write rows of predictions to a Parquet file.

  A Parquet file cannot be appended to. Rows are collected in FILE.partial.jsonl, and `close` writes
  the Parquet file from them and from the rows of an existing file.

  Args:
    path: The file.
    flag: The flag that requested it, for messages.
    fields: {column: 'string', 'number' or 'numbers'}.
    rows_of: Function that returns the rows of a prediction.

  Attributes:
    existing: {file: row of the track} of both files before this run.

  Raises:
    UserError: If pyarrow is not installed, a file has other columns or cannot be used, or another
      command writes it.
  """

  def __init__(
    self,
    path: pathlib.Path,
    flag: str,
    fields: dict[str, str],
    rows_of: Callable[[Prediction], list[Row]],
  ):
    self._arrow, self._parquet = _import_pyarrow(flag)
    arrow = self._arrow
    types = {
      "string": arrow.string(),
      "number": arrow.float64(),
      "numbers": arrow.list_(arrow.float32()),
    }
    self._schema = arrow.schema([(name, types[kind]) for name, kind in fields.items()])
    path = regular_file(path)
    self._path, self._rows_of, self._old_table = path, rows_of, None
    self._partial_path = path.with_name(path.name + ".partial.jsonl")
    try:
      self._lock = OutputLock(path)
      rows = []
      if path.exists():
        self._old_table = self._with_all_columns(self._parquet.read_table(path))
        rows = self._old_table.to_pylist()
      partial = []
      if self._partial_path.exists():
        for line in self._partial_path.read_text(encoding="utf-8").splitlines(keepends=True):
          if line.endswith("\n"):
            partial.append(json.loads(line))
        # An interruption after the Parquet file was replaced leaves rows in both files.
        known = {row["file"] for row in rows}
        partial = [part for part in partial if part and part[0]["file"] not in known]
        added = [row for part in partial for row in part]
        if any(set(row) - set(self._schema.names) for row in added):
          raise other_columns(self._partial_path)
        arrow.Table.from_pylist(added, self._schema)  # raises for values of other types
        rows += added
      self.existing = track_rows(rows)
      write_whole(self._partial_path, "".join(json.dumps(part) + "\n" for part in partial))
      self._partial = open(self._partial_path, "a", encoding="utf-8")
    except UserError:
      raise
    except Exception as error:  # rows that this program did not write can be anything
      raise unusable(path, error) from error

  def _with_all_columns(self, table):
    """Return a table with the columns of the schema; add those that earlier versions lacked."""
    names = self._schema.names
    missing = [name for name in names if name not in table.schema.names]
    if set(table.schema.names) - set(names) or set(missing) - {*OPTIONAL_COLUMNS}:
      raise other_columns(self._path)
    for name in missing:
      table = table.append_column(
        self._schema.field(name), self._arrow.nulls(len(table), self._schema.field(name).type)
      )
    return table.select(names).cast(self._schema)

  def write(self, prediction: Prediction) -> None:
    """Add a prediction, unless a file contained one for the same file before this run."""
    if prediction.file not in self.existing and (rows := self._rows_of(prediction)):
      with disk_errors(self._partial_path):
        self._partial.write(json.dumps(rows) + "\n")
        self._partial.flush()

  def close(self) -> None:
    """Write the Parquet file, delete the partial file and let other commands write."""
    with disk_errors(self._path):
      self._partial.close()
      temporary = self._path.with_name(self._path.name + ".tmp")
      with self._parquet.ParquetWriter(temporary, self._schema) as writer:
        if self._old_table is not None:
          writer.write_table(self._old_table)
        rows: list[Row] = []
        with open(self._partial_path, encoding="utf-8") as lines:
          for line in lines:
            rows += json.loads(line)
            if len(rows) >= ROWS_AT_ONCE:
              writer.write_table(self._arrow.Table.from_pylist(rows, self._schema))
              rows = []
        writer.write_table(self._arrow.Table.from_pylist(rows, self._schema))
      move_into_place(temporary, self._path)
      self._partial_path.unlink()
    self._lock.release()


def prediction_writer(path: pathlib.Path, names: list[str], timeline: bool) -> ParquetWriter:
  """Return the writer of --format=parquet.

  Args:
    path: The file.
    names: The columns.
    timeline: Whether predictions have a timeline.
  """
  text = ("file", "status", "model", "genre", "error", "note")
  return ParquetWriter(
    path,
    "--format=parquet",
    {name: "string" if name in text else "number" for name in names},
    lambda prediction: flat_rows(prediction, timeline),
  )


def embedding_writer(path: pathlib.Path) -> ParquetWriter:
  """Return the writer of --embeddings, with one row for each track that was predicted."""
  fields = {"file": "string", "model": "string", "embedding": "numbers"}
  return ParquetWriter(path, "--embeddings", fields, embedding_rows)


def _import_pyarrow(flag):
  try:
    import pyarrow
    import pyarrow.parquet
  except ImportError as error:
    raise missing_extra(flag, "pyarrow", "parquet") from error
  return pyarrow, pyarrow.parquet
