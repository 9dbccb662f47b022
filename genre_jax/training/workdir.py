"""Lock the folder of a run, and write or compare its config.json."""

import contextlib
import fcntl
import importlib.metadata
import json
import pathlib
import socket
import subprocess
import time
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
SHARED_SECONDS = 60.0  # until a network file system shows what another machine wrote


def git_commit() -> str:
  """Return the commit of the checkout that the package runs from.

  Returns:
    The hash, with '-dirty' if code of the package or an experiment is changed (stored results and
    pages may change); 'unknown' outside a checkout.
  """

  def git(*arguments):
    return subprocess.run(
      ("git", *arguments),
      cwd=pathlib.Path(__file__).parent,
      capture_output=True,
      text=True,
      check=True,
    ).stdout.strip()

  try:
    changed = git("status", "--porcelain", "-uno", "--", ":/genre_jax", ":/experiments")
    return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
  except (OSError, subprocess.CalledProcessError):
    return "unknown"


@contextlib.contextmanager
def lock_workdir(workdir: pathlib.Path) -> Iterator[None]:
  """Lock a run's folder against a second process; the lock ends with the process.

  Raises:
    UserError: If another process has the lock.
  """
  with open(workdir / ".lock", "w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise UserError(
        f"{workdir} is in use by another process; wait for it or name another folder with --workdir"
      ) from error
    yield


def check_shared(workdir: pathlib.Path) -> None:
  """Wait until this process sees the config.json that process 0 wrote.

  Raises:
    UserError: If it is not there after SHARED_SECONDS.
  """
  deadline = time.monotonic() + SHARED_SECONDS
  while not (workdir / "config.json").exists():
    if time.monotonic() > deadline:
      raise UserError(
        f"{workdir.absolute()} on {socket.gethostname()} lacks the config.json that process 0"
        " wrote: name a folder with --workdir that all machines share"
      )
    time.sleep(0.1)


def claim_workdir(
  workdir: pathlib.Path, config: ml_collections.ConfigDict, dataset_id: str
) -> None:
  """Write config.json, or check that the folder's run has the same config and data.

  Args:
    workdir: The run's folder.
    config: The resolved config.
    dataset_id: Name of the prepared set, which changes with tracks, labels and front end.

  Raises:
    UserError: If the folder has a run that differs in a field on which results depend, or a
      damaged config.json.
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
      changed.append(f"  the prepared tracks: {dataset_id_before} before, {dataset_id} now")
    if changed:
      raise UserError(
        f"{workdir} contains a run with another config:\n"
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
