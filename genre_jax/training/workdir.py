"""What a run writes beside checkpoints and evaluations: its config, its curves, its identity."""

import contextlib
import fcntl
import importlib.metadata
import json
import pathlib
import subprocess
from collections.abc import Iterator

import jax
import ml_collections
from flax.traverse_util import flatten_dict

import genre_jax
from genre_jax.errors import UserError
from genre_jax.evaluation.run_predictions import FREE_FIELDS
from genre_jax.files import write_json
from genre_jax.old_names import modernize

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


def claim_workdir(
  workdir: pathlib.Path, config: ml_collections.ConfigDict, dataset_id: str
) -> None:
  """Writes config.json, or checks that the run in this folder is the same one.

  Args:
    workdir: the run's folder.
    config: the resolved config.
    dataset_id: name of the prepared set, which changes with clips, labels and frontend.
  Raises:
    UserError: if the folder holds a run that differs in what matters.
  """
  path = workdir / "config.json"
  now = json.loads(config.to_json())
  if path.exists():
    try:
      stored = modernize(json.loads(path.read_text()))
      before, dataset_id_before = flatten_dict(stored["config"], sep="."), stored["dataset_id"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
      raise UserError(
        f"{path} is damaged ({error}); delete {workdir} or name another with --workdir"
      ) from error
    after = flatten_dict(now, sep=".")
    names = [name for name in sorted(before.keys() | after.keys()) if name not in FREE_FIELDS]
    changed = [
      f"  config.{name}: {before.get(name)!r} before, {after.get(name)!r} now"
      for name in names
      if before.get(name) != after.get(name)
    ]
    if dataset_id_before != dataset_id:
      changed.append(f"  the prepared clips: {dataset_id_before} before, {dataset_id} now")
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
      "dataset_id": dataset_id,
      "genre_jax": genre_jax.__version__,
      "commit": git_commit(),
      "packages": versions,
      "backend": jax.default_backend(),
      "devices": jax.device_count(),
    },
  )
