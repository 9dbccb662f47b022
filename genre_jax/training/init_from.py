"""Start a training from the weights of another run."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from genre_jax.data.frontend import FrontendConfig
from genre_jax.errors import UserError
from genre_jax.training import checkpoints
from genre_jax.training.steps import TrainState


def init_from(state: TrainState, path: str, metadata: dict[str, Any], tx) -> TrainState:
  """Takes over every weight of a trained network whose name and shape are the same.

  The head is left as it is where the classes differ, so that a user's own genres get a new one.

  Raises:
    UserError: if the checkpoint hears sound in another way, or is of another network.
  """
  folder = checkpoints.locate(path)
  stored = checkpoints.metadata(folder)
  other = FrontendConfig.from_dict(stored["frontend"])
  mine = FrontendConfig.from_dict(metadata["frontend"])
  if difference := dataclasses.replace(other, num_frames=mine.num_frames).difference(mine):
    raise UserError(
      f"--config.init_from={path} hears with another recipe: "
      + ", ".join(f"{name} {a} there, {b} here" for name, (a, b) in difference.items())
    )
  if stored["model"]["name"] != metadata["model"]["name"]:
    raise UserError(
      f"--config.init_from={path} is a {stored['model']['name']}, this config makes"
      f" a {metadata['model']['name']}"
    )
  saved = checkpoints.load(folder)
  saved = saved["ema"] or {"params": saved["params"], "batch_stats": saved["batch_stats"]}
  same_classes = stored["classes"] == metadata["classes"]
  taken, fresh = [], []

  def choose(location, new):
    names = [key.key for key in location]
    old = saved
    for name in names:
      old = old.get(name) if isinstance(old, dict) else None
    is_head = names[1].startswith("logits")
    if old is None or old.shape != new.shape or (is_head and not same_classes):
      fresh.append("/".join(names))
      return new
    taken.append("/".join(names))
    return jnp.asarray(old, new.dtype)

  mine = {"params": state.params, "batch_stats": state.batch_stats}
  merged = jax.tree_util.tree_map_with_path(choose, mine)
  if not taken:
    raise UserError(f"--config.init_from={path}: no weight there fits this network")
  print(
    f"weights   {len(taken)} arrays from {pathlib.Path(folder)}; new: "
    + (", ".join(fresh) or "none")
  )
  ema = jax.tree.map(jnp.copy, merged) if state.ema else {}
  return state.replace(
    params=merged["params"],
    batch_stats=merged["batch_stats"],
    ema=ema,
    opt_state=tx.init(merged["params"]),
  )
