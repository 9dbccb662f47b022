"""Predict a partition into one file, and read such files.

`partitions/NUMBER.jsonl` has a line with the manifest's hash and the counts, then the row of each
file as `predict --format=jsonl` writes it. It appears complete or not at all, so a job resumes
with the partitions whose files are missing. To predict a partition twice does no harm.
"""

import dataclasses
import json
import os
import pathlib
import re
import socket
from collections.abc import Iterator
from typing import Any

from genre_jax.data.isolated_calls import IsolatedCalls
from genre_jax.data.names import printable_path
from genre_jax.distributed.manifest import File, Manifest, Settings
from genre_jax.distributed.tries import MOST_TRIES, Tries
from genre_jax.errors import UserError
from genre_jax.files import move_into_place
from genre_jax.inference.model import Model
from genre_jax.inference.predict_files import Prediction, Span, predict_found
from genre_jax.inference.prediction_rows import json_row

FOLDER, TRIES_FOLDER = "partitions", "tries"
DEADLY = f"ended the process that predicted it, {MOST_TRIES} times with this file alone"


@dataclasses.dataclass(frozen=True)
class Work:
  """What all partitions of a job share.

  Attributes:
    directory: Absolute path of the job; every machine has it under this path.
    settings: The settings of the manifest.
    manifest_sha256: Its hash.
    file_seconds: As of `predict_files.predict`.
  """

  directory: pathlib.Path
  settings: Settings
  manifest_sha256: str
  file_seconds: float


def partition_path(directory: pathlib.Path, number: int) -> pathlib.Path:
  """Return the path of a partition's file."""
  return directory / FOLDER / f"{number:06}.jsonl"


def tries_path(directory: pathlib.Path, number: int) -> pathlib.Path:
  """Return the path of the notes on the tries of a partition."""
  return directory / TRIES_FOLDER / f"{number:06}"


def finished(directory: pathlib.Path) -> set[int]:
  """Return the numbers of the partitions whose files exist."""
  names = re.compile(r"(\d{6,})\.jsonl")
  folder = directory / FOLDER
  matches = map(names.fullmatch, os.listdir(folder) if folder.exists() else ())
  return {int(match[1]) for match in matches if match}


def prepare(directory: pathlib.Path) -> None:
  """Make the folders of a job, and delete what interrupted writers left in them."""
  for name in (FOLDER, TRIES_FOLDER):
    (directory / name).mkdir(parents=True, exist_ok=True)
  for path in (directory / FOLDER).glob(".*.tmp"):
    path.unlink(missing_ok=True)


def predict_partition(
  work: Work,
  number: int,
  files: list[File],
  model: Model,
  calls: IsolatedCalls,
  workers: int,
) -> None:
  """Predict the files of a partition and write its file.

  Args:
    work: What all partitions share.
    number: Number of the partition.
    files: Its files.
    model: The model of the manifest.
    calls: Processes that decode; they remain open.
    workers: Number of processes that decode; 0 for one per core.

  Raises:
    UserError: If the disk is full or the folder cannot be written.
  """
  path = partition_path(work.directory, number)
  # Another machine may write the same partition if it was taken for dead.
  temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
  try:
    tries = Tries(tries_path(work.directory, number))
    try:
      predictions = list(_predictions(work, files, model, calls, workers, tries))
    except (Exception, KeyboardInterrupt):
      tries.end()  # no file has ended this process
      raise
    header = {
      "manifest_sha256": work.manifest_sha256,
      "partition": number,
      "files": len(predictions),
      "failed": sum(prediction.status == "failed" for prediction in predictions),
    }
    try:
      with open(temporary, "w", encoding="utf-8") as file:
        file.write(f"{json.dumps(header)}\n")
        for prediction in predictions:
          file.write(f"{json.dumps(json_row(prediction, work.settings.timeline))}\n")
      move_into_place(temporary, path)
    finally:
      temporary.unlink(missing_ok=True)
    tries.end()
  except OSError as error:
    raise UserError(
      f"{path}: cannot be written on {socket.gethostname()} ({error.strerror or error}); finished"
      " partitions are kept: make space or make the folder writable, then repeat the command"
    ) from error


def _predictions(work, files, model, calls, workers, tries) -> Iterator[Prediction]:
  """Yield the prediction of each file; alone if earlier tries ended the process."""

  def predict(some, workers):
    return predict_found(
      some,
      model,
      segments=work.settings.segments,
      timeline=work.settings.timeline,
      min_confidence=work.settings.min_confidence,
      workers=workers,
      file_seconds=work.file_seconds,
      calls=calls,
    )

  if not tries.file_by_file:
    yield from predict(files, workers)
    return
  for index, (path, fault) in enumerate(files):
    if index in tries.deadly:
      yield Prediction(printable_path(path), path, "failed", model.name, error=DEADLY)
    else:
      tries.begin(index)
      yield from predict([(path, fault)], 1)


def count_failed(directory: pathlib.Path, manifest: Manifest, number: int) -> int:
  """Return the number of failed files of a finished partition, from its first line.

  Raises:
    UserError: If its file is missing, damaged or of another manifest.
  """
  with _damage(directory, number), open(partition_path(directory, number), "rb") as file:
    return _checked_header(file.readline(), manifest, number)


def read_predictions(
  directory: pathlib.Path, manifest: Manifest, number: int
) -> Iterator[Prediction]:
  """Yield the predictions of a finished partition, in the order of the manifest.

  Raises:
    UserError: If its file is missing, damaged or of another manifest.
  """
  files = manifest.partition(number)
  with _damage(directory, number), open(partition_path(directory, number), "rb") as file:
    _checked_header(file.readline(), manifest, number)
    lines = file.read().decode("utf-8").splitlines()
    if len(lines) != len(files):
      raise ValueError(f"{len(lines)} of {len(files)} rows")
    predictions = [
      _checked_prediction(json.loads(line), path, manifest.settings)
      for line, (path, _) in zip(lines, files, strict=True)
    ]
  yield from predictions


class _damage:
  """Turn an error of reading a partition's file into a UserError that says what to do."""

  def __init__(self, directory: pathlib.Path, number: int):
    self._path = partition_path(directory, number)

  def __enter__(self) -> None:
    pass

  def __exit__(self, kind, error, _) -> None:
    if isinstance(error, FileNotFoundError):
      raise UserError(
        f"{self._path} is missing: the folder must be on a disk that all machines share; repeat"
        " `genre-jax job predict`"
      ) from error
    if isinstance(error, OSError):
      raise UserError(f"{self._path}: cannot be read ({error.strerror or error})") from error
    if isinstance(error, (ValueError, TypeError, KeyError, AttributeError, RecursionError)):
      raise UserError(
        f"{self._path} is damaged ({error}): delete it, then repeat `genre-jax job predict`"
      ) from error


def _checked_header(line: bytes, manifest: Manifest, number: int) -> int:
  """Return the number of failed files of a partition's first line."""
  header = json.loads(line)
  expected = {
    "manifest_sha256": manifest.sha256,
    "partition": number,
    "files": len(manifest.partition(number)),
  }
  for name, value in expected.items():
    if header[name] != value:
      raise ValueError(f"{name} is {header[name]!r}, not {value!r}")
  if not isinstance(header["failed"], int) or not 0 <= header["failed"] <= header["files"]:
    raise ValueError(f"failed is {header['failed']!r}")
  return header["failed"]


def _checked_prediction(row: Any, path: str, settings: Settings) -> Prediction:
  """Return the prediction of a row."""
  file = printable_path(path)
  if row["file"] != file or row["model"] != settings.model:
    raise ValueError(f"the row of {file} is missing")
  if row["status"] not in ("ok", "failed"):
    raise ValueError(f"{file} has the status {row['status']!r}")
  predicted = row["status"] == "ok"
  return Prediction(
    file,
    path,
    row["status"],
    settings.model,
    genre=_text(row["genre"]),
    confidence=float(row["confidence"]) if predicted else None,
    probabilities=_probabilities(row, settings) if predicted else {},
    error=_text(row["error"]),
    note=_text(row["note"]),
    timeline=tuple(
      Span(
        float(span["start"]),
        float(span["end"]),
        _text(span["genre"]),
        float(span["confidence"]),
        _probabilities(span, settings) if span["confidence"] else {},  # silence has none
      )
      for span in (row["timeline"] if settings.timeline else ())
    ),
  )


def _text(value: Any) -> str:
  if not isinstance(value, str | None):
    raise TypeError(f"{value!r} is not text")
  return value or ""


def _probabilities(row: Any, settings: Settings) -> dict[str, float]:
  return {name: float(row[f"p_{name}"]) for name in settings.classes}
