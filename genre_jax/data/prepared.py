"""Prepared sets: the log-mel of every clip on disk, in tensorflow-datasets format.

A prepared set is a folder that `tfds.builder_from_directory` reads. Its name contains a hash of all
that determines its content, so a set is reused only for the same content. It is written to
`NAME.partial`, resumes there after an interruption, and is renamed when it is complete.
"""

import contextlib
import csv
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Iterator

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.prepared_writer import FORMAT_VERSION, Engine, write_prepared, write_shards
from genre_jax.data.source import Clip, Source
from genre_jax.errors import UserError
from genre_jax.old_names import SPLITS as OLD_SPLITS
from genre_jax.old_names import modernize


@dataclasses.dataclass(frozen=True)
class Prepared:
  """A prepared set on disk.

  Attributes:
    path: The tensorflow-datasets folder.
    frontend: Front end of the log-mel.
    classes: Label names, in the order of the label vector.
    task: 'single_label' or 'multi_label'.
    source: Name of the source.
    clips: Clips of the set, in stored order.
    num_frames: Number of frames of each clip.
    skipped: (track, reason) of clips that could not be used.
  """

  path: pathlib.Path
  frontend: FrontendConfig
  classes: tuple[str, ...]
  task: str
  source: str
  clips: tuple[Clip, ...]
  num_frames: tuple[int, ...]
  skipped: tuple[tuple[str, str], ...]


def content_hash(source: Source, frontend: FrontendConfig, task: str) -> str:
  """Return a hash of all that determines a prepared set: audio, labels, front end, format."""
  fields = frontend.to_dict()
  del fields["num_frames"]  # segments are cut in the pipeline: one set serves all their lengths
  parts = [FORMAT_VERSION, source.name, source.fingerprint(), list(source.classes), task, fields]
  return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def folder_name(source: Source, frontend: FrontendConfig, task: str) -> str:
  """Return the folder name of a prepared set."""
  return f"{source.name}-{content_hash(source, frontend, task)}"


def prepare(
  source: Source,
  frontend: FrontendConfig,
  root: str | os.PathLike,
  *,
  task: str = "single_label",
  workers: int = 0,
  engine: Engine | None = None,
) -> Prepared:
  """Return the prepared set of a source; write it if it does not exist.

  Args:
    source: Clips and their reader.
    frontend: Front end.
    root: Folder of prepared sets.
    task: 'single_label' or 'multi_label', stored with the set.
    workers: Number of processes that decode; 0 for one per core.
    engine: Writes the shards; None for this machine.

  Raises:
    UserError: If no clip can be read or the folder cannot be written.
  """
  final = pathlib.Path(root) / folder_name(source, frontend, task)
  if not final.exists():
    partial = final.with_name(final.name + ".partial")
    try:
      partial.mkdir(parents=True, exist_ok=True)
      with _lock(final.with_name(final.name + ".lock")):
        if not final.exists():  # another process may have made it while this one waited
          here = functools.partial(write_shards, workers=workers or os.cpu_count() or 1)
          write_prepared(source, frontend, task, partial, final, engine or here)
    except (OSError, *_tensorflow_errors()) as error:
      raise UserError(
        f"cannot write the prepared set {final}: {getattr(error, 'strerror', None) or error}; free"
        " space there or name another folder with --config.dataset.prepared_dir (finished shards"
        " are kept)"
      ) from error
  return read(final, frontend)


def read(path: str | os.PathLike, frontend: FrontendConfig | None = None) -> Prepared:
  """Open a prepared set.

  Args:
    path: Folder of the set; sets of earlier versions, with the old names, are read too.
    frontend: If given, it must equal the stored one in all fields but num_frames, which it sets.

  Raises:
    UserError: If the folder is not a prepared set, or was made with another front end.
  """
  path = pathlib.Path(path)
  try:
    metadata = modernize(json.loads((path / "about.json").read_text()))
    with open(path / "clips.csv", newline="", encoding="utf-8") as file:
      rows = list(csv.DictReader(file))
    for name, size in metadata["bytes"].items():
      if (path / name).stat().st_size != size:
        raise ValueError(f"{name} should have {size} bytes")
    stored = FrontendConfig.from_dict(metadata["frontend"])
    clips = tuple(
      Clip(
        track=row["track"],
        group=row["group"],
        labels=_names(row["labels"]),
        path="",
        has_group=row["has_group"] == "1",
        split=_split(row),
        unknown=_names(row.get("unknown")),
      )
      for row in rows
    )
    prepared = Prepared(
      path,
      stored,
      tuple(metadata["classes"]),
      metadata["task"],
      metadata["source"],
      clips,
      tuple(int(row["num_frames"]) for row in rows),
      tuple((skip["clip"], skip["reason"]) for skip in metadata["skipped"]),
    )
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise UserError(
      f"{path} is not a complete prepared set ({error}); delete it and prepare again"
    ) from error
  if frontend is not None:
    prepared = dataclasses.replace(
      prepared, frontend=dataclasses.replace(stored, num_frames=frontend.num_frames)
    )
    if difference := prepared.frontend.difference(frontend):
      raise UserError(f"{path} was prepared with another front end: {difference}")
  return prepared


def _names(cell: str | None) -> tuple[str, ...]:
  """Return the names in a cell of clips.csv."""
  return tuple(cell.split(";")) if cell else ()


def _split(row: dict[str, str]) -> str:
  """Return the official split of a row of clips.csv, '' if it has none."""
  split = row.get("split") or row.get("side") or ""
  return OLD_SPLITS.get(split, split)


def _tensorflow_errors() -> tuple[type[Exception], ...]:
  """Return the exceptions by which TensorFlow reports what Python reports as OSError."""
  import tensorflow as tf

  return (tf.errors.OpError,)


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> Iterator[None]:
  """Lock a file, so that two runs do not write one set at once."""
  with open(path, "w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      print(f"waiting for another process that prepares {path.stem}", file=sys.stderr)
      fcntl.flock(file, fcntl.LOCK_EX)
    yield
