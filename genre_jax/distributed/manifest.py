"""Describe a job: its files, its model and what else decides its predictions.

`manifest.jsonl` has a line with the settings and one line per file, sorted. It is written once. A
later command with other files or another model is refused, so that all partitions agree.
"""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

from genre_jax.data.names import printable_path
from genre_jax.errors import UserError
from genre_jax.files import write_whole

NAME = "manifest.jsonl"
FORMAT_VERSION = 1
MOST_PARTITION_FILES = 100_000  # the rows of a partition are in memory until it is written
NAMED_FILES = 3  # of a difference

File = tuple[str, str]  # path; '' or the reason why a folder gives no file


@dataclasses.dataclass(frozen=True)
class Settings:
  """What decides the predictions of a job, except for its files.

  Attributes:
    model: Name of the model.
    model_sha256: Hash of its description and weights; see `model_dir.model_hash`.
    frontend_sha256: Hash of the parameters of its front end.
    classes: Its classes.
    segments: As of `predict_files.predict`.
    timeline: As of `predict_files.predict`.
    min_confidence: As of `predict_files.predict`.
    partition_files: Files of a partition; the last one may have fewer.
  """

  model: str
  model_sha256: str
  frontend_sha256: str
  classes: tuple[str, ...]
  segments: int | None
  timeline: bool
  min_confidence: float
  partition_files: int


@dataclasses.dataclass(frozen=True)
class Manifest:
  """A job.

  Attributes:
    settings: What decides its predictions.
    files: Its files, sorted by path.
    sha256: Hash of the manifest's text, by which a partition names its manifest.
  """

  settings: Settings
  files: list[File]
  sha256: str

  @property
  def num_partitions(self) -> int:
    """Number of partitions."""
    return -(-len(self.files) // self.settings.partition_files)

  def partition(self, number: int) -> list[File]:
    """Return the files of a partition; partitions are numbered from 0."""
    size = self.settings.partition_files
    return self.files[number * size : (number + 1) * size]


def settings_of(model, **settings) -> Settings:
  """Return the settings of a loaded model and the further fields of `Settings`."""
  from genre_jax.inference.model_dir import model_hash

  return Settings(
    model=model.name,
    model_sha256=model_hash(model),
    frontend_sha256=_json_sha256(model.frontend.to_dict()),
    classes=model.classes,
    **settings,
  )


def _json_sha256(value) -> str:
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def check_folder(directory: pathlib.Path) -> None:
  """Raise UserError if the folder of a job is a file."""
  if directory.exists() and not directory.is_dir():
    raise UserError(f"{printable_path(str(directory))} is a file: give the folder of the job")


def settle(directory: pathlib.Path, settings: Settings, files: list[File]) -> Manifest:
  """Write the manifest of a new job, or check that an existing one is the same.

  Args:
    directory: Folder of the job; it exists, and no other command writes it.
    settings: The settings of this command.
    files: The files of this command; [] for those of the existing manifest.

  Raises:
    UserError: If the manifest has other settings or files, is damaged, or is missing and no files
      are given.
    OSError: If it cannot be written.
  """
  path = directory / NAME
  if path.exists():
    earlier = read_manifest(directory)
    found = _differences(earlier, settings, sorted(files) or earlier.files)
    if found:
      raise UserError(
        f"{path} was made from something else: {'; '.join(found)}. Repeat the earlier command"
        " (without files it takes those of the manifest), or give another folder"
      )
    return earlier
  if not files:
    raise UserError(f"{directory} has no {NAME}: give one or more audio files or folders")
  text = _text(settings, sorted(files))
  write_whole(path, text)
  return Manifest(settings, sorted(files), hashlib.sha256(text.encode()).hexdigest())


def _text(settings: Settings, files: list[File]) -> str:
  header = {"format_version": FORMAT_VERSION, **dataclasses.asdict(settings), "files": len(files)}
  return "".join(f"{json.dumps(line)}\n" for line in (header, *files))


def read_manifest(directory: pathlib.Path) -> Manifest:
  """Read the manifest of a job.

  Raises:
    UserError: If it is missing or damaged.
  """
  check_folder(directory)
  path = directory / NAME
  try:
    text = path.read_text(encoding="utf-8")
    header, *lines = text.splitlines() or [""]
    settings, count = _checked(_mapping(json.loads(header)))
    files = [_checked_file(json.loads(line)) for line in lines]
    if len(files) != count or not text.endswith("\n"):
      raise ValueError(f"{len(files)} of {count} files")
  except FileNotFoundError as error:
    raise UserError(
      f"{directory} is not a job, it has no {NAME}: give the folder of `genre-jax job predict`"
    ) from error
  except OSError as error:
    raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
  except (ValueError, TypeError, KeyError, RecursionError) as error:
    raise UserError(
      f"{path} is damaged ({error}): delete it, then repeat the first command, with its files;"
      " finished partitions are used again"
    ) from error
  return Manifest(settings, files, hashlib.sha256(text.encode()).hexdigest())


def _mapping(header: Any) -> dict[str, Any]:
  if not isinstance(header, dict):
    raise ValueError("its first line is no object")
  return header


def _checked(header: Any) -> tuple[Settings, int]:
  """Return the settings and the number of files of a manifest's first line."""
  if header["format_version"] != FORMAT_VERSION:
    raise ValueError(f"format {header['format_version']}, this program reads {FORMAT_VERSION}")
  types = {
    "model": str,
    "model_sha256": str,
    "frontend_sha256": str,
    "classes": list,
    "segments": int | None,
    "timeline": bool,
    "min_confidence": float,
    "partition_files": int,
    "files": int,
  }
  for name, kind in types.items():
    if not isinstance(header[name], kind):
      raise TypeError(f"{name} is {header[name]!r}")
  if not all(isinstance(name, str) for name in header["classes"]):
    raise TypeError("classes are not text")
  if not 1 <= header["partition_files"] <= MOST_PARTITION_FILES:
    raise ValueError(f"partition_files is {header['partition_files']}")
  values = {field.name: header[field.name] for field in dataclasses.fields(Settings)}
  return Settings(**values | {"classes": tuple(header["classes"])}), header["files"]


def _checked_file(line: Any) -> File:
  path, fault = line
  if not isinstance(path, str) or not isinstance(fault, str):
    raise TypeError("a path is not text")
  return path, fault


def _differences(earlier: Manifest, settings: Settings, files: list[File]) -> list[str]:
  """Return what distinguishes a job from an earlier one, as phrases."""
  found = []
  for field in dataclasses.fields(Settings):
    old, new = getattr(earlier.settings, field.name), getattr(settings, field.name)
    if old == new:
      continue
    if field.name.endswith("sha256"):
      kind = field.name.removesuffix("_sha256")
      found.append(f"another {kind} (sha256 {old[:12]}, now {new[:12]})")
    elif field.name == "classes":
      found.append(f"other classes ({len(old)}, now {len(new)})")
    else:
      found.append(f"{field.name} is {_shown(old)}, now {_shown(new)}")
  old_files, new_files = set(earlier.files), set(files)
  for kind, paths in (("added", new_files - old_files), ("missing", old_files - new_files)):
    if paths:
      names = [printable_path(path) for path, _ in sorted(paths)[:NAMED_FILES]]
      more = ", ..." if len(paths) > NAMED_FILES else ""
      found.append(f"{len(paths)} files {kind} ({', '.join(names)}{more})")
  return found


def _shown(value) -> str:
  return "not given" if value is None else str(value)
