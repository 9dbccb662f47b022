"""Start a training from the weights of another run, or of a packaged or fetched model."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import optax

from genre_jax.data.frontend import FrontendConfig
from genre_jax.errors import UserError
from genre_jax.model_files import named_folders, read_model
from genre_jax.models.registry import MODELS
from genre_jax.training import checkpoints
from genre_jax.training.steps import TrainState


def init_from(
  state: TrainState, path: str, metadata: dict[str, Any], tx: optax.GradientTransformation
) -> TrainState:
  """Copy every weight of a trained network whose name and shape are the same.

  If the classes differ, the output layer keeps its random weights. A network that contains another
  one, its `backbone`, can start from that one's weights too.

  Args:
    state: The state with random weights.
    path: A run's folder, a checkpoint, a model directory, or the name of a packaged or fetched
      model.
    metadata: Description of the new network, as `setup.checkpoint_metadata` returns it.
    tx: The optimizer, whose state is made anew.

  Returns:
    The state with the copied weights.

  Raises:
    UserError: If the weights are of another front end or another network, or none fits.
  """
  folder, stored, saved = _read(path)
  backbone = getattr(MODELS[metadata["model"]["name"]], "backbone", None)
  if stored["model"]["name"] == backbone:  # a part of this network, with a front end of its own
    saved = {collection: {backbone: tree} for collection, tree in saved.items()}
  else:
    _check_same_network(path, stored, metadata)
  same_classes = stored["classes"] == metadata["classes"]
  copied, fresh = [], []

  def choose(path, new):
    names = [key.key for key in path]
    old = saved
    for name in names:
      old = old.get(name) if isinstance(old, dict) else None
    is_output = names[1].startswith(("logits", "head"))
    if old is None or old.shape != new.shape or (is_output and not same_classes):
      fresh.append("/".join(names))
      return new
    copied.append("/".join(names))
    return jnp.asarray(old, new.dtype)

  variables = {"params": state.params, "batch_stats": state.batch_stats}
  variables = jax.tree_util.tree_map_with_path(choose, variables)
  if not copied:
    raise UserError(
      f"--config.init_from={path}: no weight there fits this network: give a run with the same"
      " config.model sizes"
    )
  print(f"weights   {len(copied)} arrays from {folder}; new: " + (", ".join(fresh) or "none"))
  return state.replace(
    params=variables["params"],
    batch_stats=variables["batch_stats"],
    ema=jax.tree.map(jnp.copy, variables) if state.ema else {},
    opt_state=tx.init(variables["params"]),
  )


def _check_same_network(path: str, stored: dict[str, Any], metadata: dict[str, Any]) -> None:
  """Refuse weights of another network or another front end, apart from the segments' length."""
  stored_frontend = FrontendConfig.from_dict(stored["frontend"])
  frontend = FrontendConfig.from_dict(metadata["frontend"])
  stored_frontend = dataclasses.replace(stored_frontend, num_frames=frontend.num_frames)
  if difference := stored_frontend.difference(frontend):
    raise UserError(
      f"--config.init_from={path} has another front end: "
      + ", ".join(f"{name} is {a} there and {b} here" for name, (a, b) in difference.items())
    )
  if stored["model"]["name"] != metadata["model"]["name"]:
    raise UserError(
      f"--config.init_from={path} is the network {stored['model']['name']}, and this config"
      f" trains {metadata['model']['name']}: give a run of the same network"
    )


def _read(path: str) -> tuple[pathlib.Path, dict[str, Any], dict[str, Any]]:
  """Return the folder that a user's path means, its metadata and its variables."""
  for folder in (pathlib.Path(path), *named_folders(path)):
    if (folder / "model.json").is_file():
      try:
        return folder, *read_model(folder)
      except UserError as error:
        raise UserError(f"--config.init_from={error}") from error
  folder = checkpoints.locate(path)
  saved = checkpoints.load(folder)
  saved = saved["ema"] or {"params": saved["params"], "batch_stats": saved["batch_stats"]}
  return folder, checkpoints.metadata(folder), saved
