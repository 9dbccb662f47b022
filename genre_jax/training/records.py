"""What a run writes beside checkpoints and evaluations: its config, its curves, its identity."""

import contextlib
import fcntl
import importlib.metadata
import json
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

import jax
import ml_collections

import genre_jax
from genre_jax.errors import UserError
from genre_jax.files import write_whole

PACKAGES = (
  "jax",
  "jaxlib",
  "flax",
  "optax",
  "orbax-checkpoint",
  "numpy",
  "tensorflow-cpu",
  "tensorflow-datasets",
  "librosa",
)

# Fields that may change between a run and its continuation, because no number depends on them.
FREE_FIELDS = (
  "dataset.path",
  "dataset.source",
  "dataset.prepared_dir",
  "dataset.workers",
  "train.report",
  "profile",
)


def flat(tree: dict, prefix: str = "") -> dict[str, Any]:
  """{'a': {'b': 1}} as {'a.b': 1}."""
  out = {}
  for key, value in tree.items():
    out |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
  return out


def git_commit() -> str:
  """The commit of the checkout that the package runs from, '-dirty' if changed, or 'unknown'."""

  def git(*arguments):
    return subprocess.run(
      ("git", *arguments),
      cwd=pathlib.Path(__file__).parent,
      capture_output=True,
      text=True,
      check=True,
    ).stdout.strip()

  try:
    return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "-uno") else "")
  except (OSError, subprocess.CalledProcessError):
    return "unknown"


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a JSON file so that it is either whole or absent."""
  path.parent.mkdir(parents=True, exist_ok=True)
  write_whole(path, json.dumps(value, indent=1) + "\n")


@contextlib.contextmanager
def sole_use(workdir: pathlib.Path) -> Iterator[None]:
  """Keeps a second process out of a run's folder; the lock goes with the process."""
  with open(workdir / ".lock", "w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise UserError(
        f"{workdir} is in use by another process; wait for it or name another folder with --workdir"
      ) from error
    yield


def claim_workdir(workdir: pathlib.Path, config: ml_collections.ConfigDict, material: str) -> None:
  """Writes config.json, or checks that the run in this folder is the same one.

  Args:
    workdir: the run's folder.
    config: the resolved config.
    material: name of the prepared set, which changes with clips, labels and recipe.
  Raises:
    UserError: if the folder holds a run that differs in what matters.
  """
  path = workdir / "config.json"
  now = json.loads(config.to_json())
  if path.exists():
    try:
      stored = json.loads(path.read_text())
      before, material_before = flat(stored["config"]), stored["material"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
      raise UserError(
        f"{path} is damaged ({error}); delete {workdir} or name another with --workdir"
      ) from error
    after = flat(now)
    names = [name for name in sorted(before.keys() | after.keys()) if name not in FREE_FIELDS]
    changed = [
      f"  config.{name}: {before.get(name)!r} before, {after.get(name)!r} now"
      for name in names
      if before.get(name) != after.get(name)
    ]
    if material_before != material:
      changed.append(f"  the prepared clips: {material_before} before, {material} now")
    if changed:
      raise UserError(
        f"{workdir} holds a run with another config:\n"
        + "\n".join(changed)
        + "\nName another folder with --workdir, or delete this one"
      )
    return
  versions = {}
  for name in PACKAGES:
    try:
      versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      versions[name] = "absent"
  write_json(
    path,
    {
      "config": now,
      "material": material,
      "genre_jax": genre_jax.__version__,
      "commit": git_commit(),
      "packages": versions,
      "backend": jax.default_backend(),
      "devices": jax.device_count(),
    },
  )


class Curves:
  """metrics.jsonl and TensorBoard events of a run.

  Args:
    workdir: the run's folder.
    start_step: a resumed run's step; what was written of later steps is dropped, since those steps
      are made again.
  """

  def __init__(self, workdir: pathlib.Path, start_step: int):
    import tensorflow as tf  # here: only training writes curves

    self._summary = tf.summary
    path = workdir / "metrics.jsonl"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    kept = [line for line in lines if _step_of(line) <= start_step]
    write_whole(path, "".join(line + "\n" for line in kept))
    self._file = open(path, "a")
    self._events = tf.summary.create_file_writer(str(workdir))

  def write(self, step: int, epoch: int, **figures: float) -> None:
    """One line and one event for each figure; names are as 'train/loss'."""
    named = {name.replace("_", "/", 1): value for name, value in figures.items()}
    self._file.write(json.dumps({"step": step, "epoch": epoch, **named}) + "\n")
    self._file.flush()
    with self._events.as_default(step=step):
      for name, value in named.items():
        self._summary.scalar(name, value)
    self._events.flush()

  def close(self) -> None:
    """Closes both files."""
    self._file.close()
    self._events.close()


def _step_of(line: str) -> float:
  """The step of a line of metrics.jsonl; infinite for a line that is damaged."""
  try:
    return int(json.loads(line)["step"])
  except (ValueError, KeyError, TypeError):
    return float("inf")
