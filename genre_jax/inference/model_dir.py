"""Read and write model directories, and pack a training run into one.

A model directory contains `weights.npz` and `model.json`. The weights are arrays named 'params/...'
and 'batch_stats/...'. model.json describes the network, the front end, the outputs (classes, task,
temperature) and the provenance. Both are data: nothing in a model directory is executed or
unpickled.
"""

import dataclasses
import hashlib
import json
import math
import os
import pathlib
import tempfile
import warnings
from typing import Any

import numpy as np

import genre_jax
from genre_jax.errors import UserError, did_you_mean, missing_extra
from genre_jax.files import cache_dir
from genre_jax.inference.published import MUSICNN_YAMNET, PUBLISHED
from genre_jax.model_files import FORMAT_VERSION, PACKAGED, named_folders, read_model
from genre_jax.old_names import MODEL_DIRECTORIES

HEADS = pathlib.Path(genre_jax.__file__).parent / "heads"  # layers on published networks
DEFAULT_MODEL = "default"
SMALL_MODEL = "axis_features_10"  # the default until MUSICNN_YAMNET is fetched
MAX_PACKED_BYTES = 3_000_000  # of weights: packed models are small enough for the package


def write_model(
  target: pathlib.Path,
  metadata: dict[str, Any],
  weights: dict[str, np.ndarray],
  files: dict[str, bytes] | None = None,
) -> None:
  """Write a model directory, or replace one; it appears complete or not at all.

  Args:
    target: The folder to create.
    metadata: Content of model.json; the format version and the hash of the weights are added.
    weights: Arrays named 'params/...' and 'batch_stats/...'.
    files: Further files by name, such as the license.
  """
  with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
    new = pathlib.Path(temporary) / "new"
    new.mkdir()
    np.savez(new / "weights.npz", allow_pickle=False, **weights)  # type: ignore[arg-type]
    for name, content in (files or {}).items():
      (new / name).write_bytes(content)
    digest = hashlib.sha256((new / "weights.npz").read_bytes()).hexdigest()
    metadata = {"format_version": FORMAT_VERSION, **metadata, "weights_sha256": digest}
    (new / "model.json").write_text(json.dumps(metadata, indent=2) + "\n")
    if target.exists():
      # A directory cannot be replaced by a directory that is not empty.
      os.rename(target, pathlib.Path(temporary) / "old")
    try:
      os.rename(new, target)
    except OSError:
      if not target.exists():  # if it exists, another process has written the same model
        if (old := pathlib.Path(temporary) / "old").exists():
          os.rename(old, target)
        raise


def read_run(path: str) -> tuple[dict[str, Any], dict[str, Any]]:
  """Read the best checkpoint of a run, with the weights that evaluation uses.

  Args:
    path: The run's folder, or one of its checkpoints.

  Returns:
    As `read_model`.

  Raises:
    UserError: If there is no readable checkpoint, or orbax is not installed.
  """
  try:
    from genre_jax.training import checkpoints  # imported here because only runs need orbax
  except ImportError as error:
    raise missing_extra("reading a run's checkpoint", "orbax", "train") from error

  folder = checkpoints.locate(path)
  with warnings.catch_warnings():
    # The arrays may have been saved on other devices.
    warnings.filterwarnings("ignore", "Sharding info not provided")
    stored, state = checkpoints.metadata(folder), checkpoints.load(folder)
  variables = state["ema"] or {"params": state["params"], "batch_stats": state["batch_stats"]}
  kept = ("model", "frontend", "classes", "task", "normalization", "eval_per_track", "thresholds")
  metadata = {name: stored[name] for name in kept if name in stored}
  if "thresholds" in metadata:  # a run stores them by class name
    metadata["thresholds"] = [metadata["thresholds"][name] for name in metadata["classes"]]
  metadata["name"] = pathlib.Path(path).absolute().name
  metadata["temperature"] = run_temperature(path)
  metadata["provenance"] = {
    "source": f"trained with genre_jax {genre_jax.__version__}",
    "trained_on": stored["source"],
    "dataset_id": stored["dataset_id"],
    "split": stored["split"],
    "seed": stored["seed"],
    "step": int(state["step"]),
    "commit": _from_run(pathlib.Path(path), "config.json", "commit"),
  }
  return metadata, variables


def run_temperature(path: str | os.PathLike) -> float:
  """Return the temperature that a run's evaluation fitted on validation tracks, or 1.

  Args:
    path: The run's folder, or one of its checkpoints.
  """
  fitted = _from_run(pathlib.Path(path), "eval/valid.json", "temperature")
  return float((fitted or {}).get("temperature") or 1.0)


def _from_run(path: pathlib.Path, file: str, key: str) -> Any:
  """Return a value of a JSON file of a run, given its folder or a checkpoint; None if absent."""
  for folder in (path, *path.absolute().parents[:2]):
    try:
      return json.loads((folder / file).read_text())[key]
    except (OSError, ValueError, KeyError, TypeError):
      continue
  return None


def pack(
  run: str, out: str | os.PathLike, *, temperature: float | None = None, license: str = ""
) -> pathlib.Path:
  """Write a model directory from a trained run: float32 weights, no optimizer state.

  Args:
    run: The run's folder, or one of its checkpoints.
    out: The model directory to create; its name becomes the model's name.
    temperature: See `apply_temperature`; None for the temperature that the run fitted.
    license: License of the weights, as text.

  Returns:
    The model directory.

  Raises:
    UserError: If there is no run, `out` exists, the weights exceed 3 MB, or writing fails.
  """
  target = pathlib.Path(out).expanduser().absolute()
  try:
    exists = target.exists()
  except OSError as error:
    raise UserError(f"--out={out}: cannot be written ({error.strerror or error})") from error
  if exists:
    raise UserError(f"--out={out} exists: give another folder")
  # Imported here because reading a model directory needs neither JAX nor Flax.
  from flax.traverse_util import flatten_dict

  from genre_jax.models.registry import build_model

  metadata, variables = read_run(run)
  metadata["name"] = target.name
  # Store every size, so that a changed default does not change the model.
  network = build_model(metadata["model"], len(metadata["classes"]))
  metadata["model"] = {"name": metadata["model"]["name"], **sizes_of(network)}
  if temperature is not None:
    if not (math.isfinite(temperature) and temperature > 0):
      raise UserError(f"--temperature={temperature}: give a number above 0")
    metadata["temperature"] = float(temperature)
  if license:
    metadata["provenance"]["license"] = license
  weights = {
    name: np.asarray(value, np.float32) for name, value in flatten_dict(variables, sep="/").items()
  }
  if (size := sum(value.nbytes for value in weights.values())) > MAX_PACKED_BYTES:
    raise UserError(
      f"{run}: its weights have {size:,} bytes, more than the {MAX_PACKED_BYTES:,} of a packed"
      f" model. Use the run itself: --model={run}"
    )
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    write_model(target, metadata, weights)
  except OSError as error:
    raise UserError(f"--out={out}: cannot be written ({error.strerror or error})") from error
  return target


def sizes_of(network) -> dict[str, Any]:
  """Return every field of a network that `build_model` accepts, as model.json stores it."""
  from genre_jax.models.registry import NO_SIZES

  return {
    field.name: getattr(network, field.name)
    for field in dataclasses.fields(network)
    if field.name not in NO_SIZES
  }


def model_hash(model) -> str:
  """Return a hash of all of a loaded model that predictions and embeddings depend on."""
  from flax.traverse_util import flatten_dict

  described = {
    "network": [type(model.network).__name__, sizes_of(model.network)],
    "frontend": model.frontend.to_dict(),
    "classes": model.classes,
    "task": model.task,
    "temperature": model.temperature,
    "thresholds": model.thresholds,
    "least": model.least,
    "eval_per_track": model.eval_per_track,
  }
  digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
  for name, value in sorted(flatten_dict(model.variables, sep="/").items()):
    digest.update(f"{name} {value.dtype} {value.shape}\n".encode())
    digest.update(np.asarray(value).tobytes())
  return digest.hexdigest()


def find_model(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
  """Find and read a model.

  Args:
    name: A value of --model: the name of a packaged or fetched model, a model directory, a run's
      folder or a checkpoint.

  Returns:
    As `read_model`.

  Raises:
    UserError: If there is no such model, or it is damaged.
  """
  try:
    return _find_model(MODEL_DIRECTORIES.get(name, name))
  except OSError as error:
    raise UserError(f"--model={name}: cannot be read ({error.strerror or error})") from error


def default_model() -> str:
  """Return the name of the default model: MUSICNN_YAMNET if it was fetched, else the small one."""
  fetched = (cache_dir() / "models" / MUSICNN_YAMNET / "model.json").exists()
  return MUSICNN_YAMNET if fetched else SMALL_MODEL


def portable_name(name: str) -> str:
  """Return a value of --model that means the same model in another folder or on another machine.

  Args:
    name: A value of --model.

  Returns:
    The name of a packaged or fetched model, or an absolute path.
  """
  name = default_model() if name == DEFAULT_MODEL else MODEL_DIRECTORIES.get(name, name)
  if any((folder / "model.json").exists() for folder in named_folders(name)):
    return name
  return str(pathlib.Path(name).expanduser().absolute())


def _find_model(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
  if name == DEFAULT_MODEL:
    name = default_model()
  for folder in named_folders(name):
    if (folder / "model.json").exists():
      return read_model(folder)
  folder = pathlib.Path(name).expanduser()
  if (folder / "model.json").exists() or (folder / "weights.npz").exists():
    return read_model(folder)
  if name and (
    (folder / "checkpoints").is_dir()
    or (folder / "_CHECKPOINT_METADATA").exists()
    or folder.name == "checkpoints"
    and folder.is_dir()
  ):
    return read_run(str(folder))
  if name in (MUSICNN_YAMNET, *PUBLISHED):
    raise UserError(
      f"--model={name} is not on this machine yet: run `genre-jax pretrained fetch {name}`"
    )
  packaged = sorted(path.parent.name for path in PACKAGED.glob("*/model.json"))
  names = [*packaged, MUSICNN_YAMNET, *PUBLISHED]
  reason = "is not a model directory or run" if folder.exists() else "there is no such model"
  raise UserError(
    f"--model={name}: {reason}{did_you_mean(name, names)}; give a name ({', '.join(names)}), a"
    " model directory (with model.json), or a run's folder (with checkpoints/)"
  )
