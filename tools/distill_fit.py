"""Train a layer on statistics to predict embeddings, for `distill.py`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from genre_jax.models.axis_features_student import AxisFeaturesStudent
from tools.genre_features import FEATURES

STEPS, BATCH, WARMUP, RATE, DECAY, DROPOUT = 3000, 256, 200, 2e-3, 1e-3, 0.1


class Student(nn.Module):
  """Statistics, standardized, to units and to the embedding of the teachers."""

  units: int = AxisFeaturesStudent.student

  @nn.compact
  def __call__(self, x, *, train=False):
    """Return float32[batch, FEATURES] of float32[batch, statistics]."""
    drop = nn.Dropout(DROPOUT, deterministic=not train)
    x = nn.BatchNorm(not train, momentum=0.98, use_scale=False, use_bias=False, name="input")(x)
    x = nn.Dense(self.units, use_bias=False, name="student")(drop(x))
    x = nn.relu(nn.BatchNorm(not train, momentum=0.98, name="norm")(x))
    return nn.Dense(FEATURES, name="embedding")(drop(x))

  @staticmethod
  def folded(variables) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and bias of the layer with both normalizations in them."""
    variables = jax.tree.map(np.float64, variables)
    norm, stats = variables["params"]["norm"], variables["batch_stats"]
    before = 1 / np.sqrt(stats["input"]["var"] + 1e-5)
    after = norm["scale"] / np.sqrt(stats["norm"]["var"] + 1e-5)
    kernel = variables["params"]["student"]["kernel"] * before[:, None] * after
    bias = norm["bias"] - stats["norm"]["mean"] * after - stats["input"]["mean"] @ kernel
    return np.float32(kernel), np.float32(bias)


def fit(x: np.ndarray, y: np.ndarray, seed: int = 0):
  """Train on statistics, [pieces, SEGMENTS, D], and embeddings; return network and variables."""
  network = Student()
  variables = network.init(jax.random.key(seed), jnp.zeros((2, x.shape[2])))
  tx = optax.adamw(optax.warmup_cosine_decay_schedule(0.0, RATE, WARMUP, STEPS), weight_decay=DECAY)
  params, stats = variables["params"], variables["batch_stats"]
  state, rng = tx.init(params), np.random.default_rng(seed)

  @jax.jit
  def step(params, stats, state, number, x, y):
    def loss_of(params):
      out, new = network.apply(
        {"params": params, "batch_stats": stats},
        x.astype(jnp.float32),
        train=True,
        rngs={"dropout": jax.random.fold_in(jax.random.key(seed), number)},
        mutable=["batch_stats"],
      )
      return jnp.square(out - y).mean(), new["batch_stats"]

    (_, stats), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
    updates, state = tx.update(gradient, state, params)
    return optax.apply_updates(params, updates), stats, state

  for number in range(STEPS):
    rows = rng.integers(0, len(x), BATCH)
    cut = x[rows, rng.integers(0, x.shape[1], BATCH)]
    params, stats, state = step(params, stats, state, jnp.int32(number), cut, y[rows])
  return network, {"params": params, "batch_stats": stats}
