"""Models on disk: a folder of `weights.npz` and `model.json`, read, written and packed from a run.

First step of inference, and where whatever brings weights in (`musicnn_import.py`, `pack`) leaves
them. Weights are flat arrays 'params/...' and 'batch_stats/...'; model.json says what network they
are of, how it hears (the recipe), what it answers (classes, task, temperature) and where it comes
from. Neither is a program: nothing in a model directory is run or unpickled.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import os
import pathlib
import tempfile
import warnings
import zipfile
from typing import Any

import numpy as np

import genre_jax
from genre_jax.errors import UserError
from genre_jax.old_names import MODEL_DIRECTORIES, modernize

FORMAT_VERSION = 1
PACKAGED = pathlib.Path(genre_jax.__file__).parent / "pretrained_models"
DEFAULT_MODEL = "axis_features_10"
MAX_PACKED_BYTES = 3_000_000  # of a packed model: it may go into the package


def default_cache() -> pathlib.Path:
  """$XDG_CACHE_HOME/genre_jax, or ~/.cache/genre_jax."""
  # The XDG specification has relative values ignored.
  base = os.environ.get("XDG_CACHE_HOME", "")
  root = pathlib.Path(base) if os.path.isabs(base) else pathlib.Path.home() / ".cache"
  return root / "genre_jax"


def read_model(folder: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
  """Reads a model directory.

  Returns:
    What model.json says, and the variables as nested dicts, ready for `apply`.
  Raises:
    UserError: if it is absent, of another version, incomplete or damaged.
  """
  folder = pathlib.Path(folder)
  try:
    metadata = modernize(json.loads((folder / "model.json").read_text()))
    if missing := {"format_version", "weights_sha256"} - set(metadata):
      raise UserError(f"{folder}: model.json has no {min(missing)}; fetch or pack the model again")
    version = metadata["format_version"]
    if version != FORMAT_VERSION:
      raise UserError(f"{folder}: model format {version}, this program reads {FORMAT_VERSION}")
    raw = (folder / "weights.npz").read_bytes()
    if hashlib.sha256(raw).hexdigest() != metadata["weights_sha256"]:
      raise UserError(f"{folder}: weights.npz is damaged or was changed")
    variables: dict[str, Any] = {}
    with np.load(folder / "weights.npz", allow_pickle=False) as archive:
      for name in archive.files:
        *parents, leaf = name.split("/")
        node = variables
        for parent in parents:
          node = node.setdefault(parent, {})
        node[leaf] = archive[name]
  except FileNotFoundError as error:
    raise UserError(
      f"{folder}: not a model directory ({pathlib.Path(error.filename).name} is missing)"
    ) from error
  except json.JSONDecodeError as error:
    raise UserError(
      f"{folder}: model.json is damaged ({error}); fetch or pack the model again"
    ) from error
  except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
    raise UserError(f"{folder}: cannot be read as a model ({error})") from error
  return metadata, variables


def write_model(
  target: pathlib.Path,
  metadata: dict[str, Any],
  weights: dict[str, np.ndarray],
  files: dict[str, bytes] | None = None,
) -> None:
  """Writes a model directory; it appears whole or not at all, in place of a damaged one.

  Args:
    target: the folder to be.
    about: what model.json is to say; the format's version and the weights' hash are added.
    weights: flat 'params/...' and 'batch_stats/...'.
    files: further files by name, such as the license.
  """
  with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
    new = pathlib.Path(temporary) / "new"
    new.mkdir()
    np.savez(new / "weights.npz", **weights)
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
      if not target.exists():  # else another process has finished first: its model is as good
        raise


def read_run(path: str) -> tuple[dict[str, Any], dict[str, Any]]:
  """A run's best checkpoint as `read_model` gives a model directory: the weights of evaluation."""
  from genre_jax.training import checkpoints  # here: orbax is needed for runs alone

  folder = checkpoints.locate(path)
  with warnings.catch_warnings():
    # Every array is wanted, wherever it was when it was saved.
    warnings.filterwarnings("ignore", "Sharding info not provided")
    stored, state = checkpoints.metadata(folder), checkpoints.load(folder)
  variables = state["ema"] or {"params": state["params"], "batch_stats": state["batch_stats"]}
  kept = ("model", "frontend", "classes", "task", "normalization", "eval_per_track", "thresholds")
  metadata = {name: stored[name] for name in kept if name in stored}
  if "thresholds" in metadata:  # a run has them by class
    metadata["thresholds"] = [metadata["thresholds"][name] for name in metadata["classes"]]
  metadata["name"] = pathlib.Path(path).absolute().name
  metadata["temperature"] = _temperature(pathlib.Path(path))
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


def _temperature(run: pathlib.Path) -> float:
  """What the run's evaluation fitted on its valid tracks; 1 where it has none."""
  fitted = _from_run(run, "eval/valid.json", "temperature")
  return float((fitted or {}).get("temperature") or 1.0)


def _from_run(path: pathlib.Path, file: str, key: str) -> Any:
  """A value of a JSON file of the run that a run's folder or checkpoint belongs to, or None."""
  for folder in (path, *path.absolute().parents[:2]):
    try:
      return json.loads((folder / file).read_text())[key]
    except (OSError, ValueError, KeyError, TypeError):
      continue
  return None


def pack(
  run: str, out: str | os.PathLike, *, temperature: float | None = None, license: str = ""
) -> pathlib.Path:
  """Makes a model directory of a trained run: float32 weights, no optimizer state.

  Args:
    run: the run's folder, or one of its checkpoints.
    out: the model directory to be; its name is the model's.
    temperature: for `apply_temperature`; the run's own where None.
    license: what the weights may be used for, in words.
  Raises:
    UserError: no run, a folder that is in the way, a model over 3 MB, a full disk.
  """
  target = pathlib.Path(out).expanduser().absolute()
  if target.exists():
    raise UserError(f"--out={out} exists; delete it or give another folder")
  from genre_jax.models.registry import build_model  # here: reading needs neither JAX nor Flax

  metadata, variables = read_run(run)
  metadata["name"] = target.name
  # Every size, lest a module's defaults change one day.
  network = build_model(metadata["model"], len(metadata["classes"]))
  metadata["model"] = {"name": metadata["model"]["name"], **sizes_of(network)}
  if temperature is not None:
    if not (math.isfinite(temperature) and temperature > 0):
      raise UserError(f"--temperature={temperature}: give a number above 0")
    metadata["temperature"] = float(temperature)
  if license:
    metadata["provenance"]["license"] = license
  weights = {name: np.asarray(value, np.float32) for name, value in flat(variables).items()}
  if (size := sum(value.nbytes for value in weights.values())) > MAX_PACKED_BYTES:
    raise UserError(
      f"{run}: its weights take {size:,} bytes; a packed model may have"
      f" {MAX_PACKED_BYTES:,}. Use the run itself: --model={run}"
    )
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    write_model(target, metadata, weights)
  except OSError as error:
    raise UserError(f"--out={out}: cannot be written ({error.strerror or error})") from error
  return target


def sizes_of(network) -> dict[str, Any]:
  """Every field of a network's module that `build_model` takes, as model.json stores it."""
  return {
    field.name: getattr(network, field.name)
    for field in dataclasses.fields(network)
    if field.name not in ("parent", "name", "num_classes", "dtype")
  }


def flat(variables: dict[str, Any], prefix: str = "") -> dict[str, Any]:
  """{'params': {'logits': {'bias': x}}} as {'params/logits/bias': x}."""
  out = {}
  for name, value in variables.items():
    out |= flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {prefix + name: value}
  return out


def find_model(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
  """What --model means: a packaged name, a fetched name, a model directory or a run's folder.

  Returns:
    As `read_model`.
  Raises:
    UserError: if there is none such, or it is damaged.
  """
  name = MODEL_DIRECTORIES.get(name, name)
  plain = name not in ("", ".", "..") and pathlib.PurePath(name).name == name
  if plain:
    for folder in (PACKAGED / name, default_cache() / "models" / name):
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
  from genre_jax.inference.published import PUBLISHED  # here: only the message needs it

  if name in PUBLISHED:
    raise UserError(
      f"--model={name} is not on this machine yet: run"
      f" `python -m genre_jax.pretrained fetch {name}`"
    )
  there = sorted(path.parent.name for path in PACKAGED.glob("*/model.json"))
  near = difflib.get_close_matches(name, [*there, *PUBLISHED], 1)
  what = "is no model directory or run" if folder.exists() else "there is no such model"
  raise UserError(
    f"--model={name}: {what}"
    + (f" (did you mean {near[0]}?)" if near else "")
    + f"; give a name ({', '.join([*there, *PUBLISHED])}), a model directory (with model.json), or"
    " a run's folder (with checkpoints/)"
  )
