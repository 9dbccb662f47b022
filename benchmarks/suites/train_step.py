"""Training step of the networks, against the same networks in PyTorch.

Both have the same initial weights, batch, loss and optimizer, and neither has dropout, augmentation
or a moving average. Of the two heads of `axis_features` and `split_cnn` the linear one is trained:
which one trains a segment is random, and differs between frameworks. The loss after three updates
is compared. Ours is the project's own step, with masks and the guard against non-finite values.
"""

import itertools
import zlib
from typing import Any

import numpy as np

from benchmarks.harness import Contender, cores, format_ratio

TITLE = "Training step"
TARGET = (
  "1.3 x PyTorch for the project's own networks, as fast for the published ones; eager or compiled,"
  " channels first or last, whichever is fastest"
)
NOTES = "training-step"
THREADS = ("one", "all")
REPEATS = 3
# PyTorch compiled took 1.1 x its eager time in two runs, or gave another loss.
SLOW_COMPILED = "published_tf_split"

# As in experiments/*.py, except for published_tf_split. There its batches have 256 segments, 8
# TFLOP a step, and at its rate of 1e-3 the loss after three updates depends on rounding.
OWN = {
  "batch": 32,
  "frames": 96,
  "mels": 128,
  "optimizer": "adamw",
  "learning_rate": 0.002,
  "weight_decay": 0.001,
  "decay_on": "kernel$",
  "clip_norm": 5.0,
}
NETWORKS: dict[str, dict[str, Any]] = {
  "split_cnn": OWN,
  "axis_features": OWN,
  "baseline": OWN,
  "published_baseline": {
    "batch": 32,
    "frames": 80,
    "mels": 80,
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "weight_decay": 0.02,
    "decay_on": "^hidden/kernel$",
    "clip_norm": 0.0,
  },
  "published_tf_split": {
    "batch": 8,
    "frames": 80,
    "mels": 80,
    "optimizer": "adam",
    "learning_rate": 1e-5,
    "weight_decay": 0.0,
    "decay_on": "kernel$",
    "clip_norm": 0.0,
  },
}
CLASSES = 4
UPDATES = 3  # before the compared loss


def batch(settings) -> tuple[np.ndarray, np.ndarray]:
  """Return a random batch, float32[B, T, M] in dB and int64[B]; every class occurs."""
  rng = np.random.default_rng(0)
  shape = settings["batch"], settings["frames"], settings["mels"]
  log_mel = rng.normal(-40, 15, shape).astype(np.float32)
  return log_mel, rng.permutation(np.arange(settings["batch"]) % CLASSES)


def draw(path: str, shape: tuple[int, ...]) -> np.ndarray:
  """Return initial values of a parameter from its path and shape in Flax, alike for all peers."""
  rng = np.random.default_rng(zlib.crc32(path.encode()))
  values = rng.standard_normal(shape, np.float32)
  if path.endswith("scale"):
    return 1 + 0.1 * values
  if path.endswith("bias"):
    return 0.1 * values
  return values * np.float32(np.prod(shape[:-1]) / 2) ** -0.5


def ours(name: str, settings: dict[str, Any]):
  """Set up `make_train_step` of genre_jax."""
  import dataclasses

  import jax
  import jax.numpy as jnp

  from genre_jax.experiments import base
  from genre_jax.models.registry import build_model
  from genre_jax.training import steps
  from genre_jax.training.optimizer import make_optimizer

  config = base.get_config()
  config.optimizer.update(
    {
      "name": settings["optimizer"],
      "learning_rate": settings["learning_rate"],
      "schedule": "constant",
      "warmup_fraction": 0.0,
      "weight_decay": settings["weight_decay"],
      "weight_decay_on": settings["decay_on"],
      "clip_norm": settings["clip_norm"],
    }
  )
  config.train.update({"label_smoothing": 0.0, "ema_decay": 0.0})
  model = build_model({"name": name}, CLASSES, "float32")
  fixed = {"dropout": 0.0, "statistics_dropout": 0.0, "pool_dropout": 0.0, "linear_share": 1.0}
  fields = {field.name for field in dataclasses.fields(model)}
  model = model.clone(**{name: value for name, value in fixed.items() if name in fields})
  log_mel, labels = batch(settings)
  frames = np.full(len(labels), settings["frames"], np.int32)
  inputs = {
    "log_mel": log_mel[..., None],
    "num_frames": frames,
    "labels": np.eye(CLASSES, dtype=np.float32)[labels],
    "label_mask": np.ones((len(labels), CLASSES), np.float32),
    "mask": np.ones(len(labels), bool),
  }
  mesh = steps.device_mesh()
  tx = make_optimizer(config.optimizer, 1)
  state = steps.create_state(model, tx, inputs["log_mel"][:1], 0)
  params = jax.tree_util.tree_map_with_path(
    lambda path, x: jnp.asarray(draw("/".join(key.key for key in path), x.shape)), state.params
  )
  state = state.replace(params=params, opt_state=tx.init(params))
  state = steps.replicate(state, mesh)
  inputs = jax.device_put(steps.shard_batch(inputs, mesh))  # as PyTorch's tensors are there
  step = steps.make_train_step(model, tx, config)

  def run():
    nonlocal state
    state, metrics = step(state, inputs)
    return np.asarray(metrics["loss"])

  for _ in range(UPDATES):
    run()
  return run


def torch(
  name: str, settings: dict[str, Any], compiled: bool, channels_last: bool, device: str = "cpu"
):
  """Set up the network of benchmarks/torch_networks.py."""
  import torch

  from benchmarks.torch_networks import Training

  torch.set_num_threads(cores())
  training = Training(name, *batch(settings), settings, draw, compiled, channels_last, device)
  for _ in range(UPDATES):
    training.update()
  return lambda: np.asarray(training.update())


CONTENDERS = {}
for _name in NETWORKS:
  CONTENDERS[f"genre_jax, {_name}"] = Contender(
    "genre_jax", lambda name=_name: ours(name, NETWORKS[name]), role="ours", case=_name
  )
  for _compiled, _last in itertools.product((False, True), (True, False)):
    if _compiled and _name == SLOW_COMPILED:
      continue
    CONTENDERS[
      f"PyTorch {'compiled' if _compiled else 'eager'},"
      f" channels {'last' if _last else 'first'}, {_name}"
    ] = Contender(
      "peers",
      lambda name=_name, compiled=_compiled, last=_last: torch(
        name, NETWORKS[name], compiled, last
      ),
      5e-3,
      case=_name,
    )


def remarks(outcomes) -> list[str]:
  """Return the ratios of the target."""
  lines = []
  for (_, threads), outcome in outcomes.items():
    peer = outcome.best("peer")
    for name in outcome.times:
      if peer and outcome.roles[name] == "ours":
        lines.append(f"{threads}: {peer} / {name} {format_ratio(outcome.ratio(peer, name))}")
  return lines
