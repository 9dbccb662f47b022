"""The training state and the jitted steps: pure functions of state and batch.

Batches are sharded over the devices along their first axis and the state is replicated, both by
`jax.sharding.NamedSharding`, so that the same step runs on one device, many, or several hosts.
"""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genre_jax.errors import UserError
from genre_jax.training.augment import augment
from genre_jax.training.losses import make_loss

# What the network and the losses read of a batch; the rest names tracks and stays on the host.
DEVICE_FIELDS = ("log_mel", "num_frames", "labels", "label_mask", "mask")


@flax.struct.dataclass
class TrainState:
  """What training changes.

  Attributes:
    step: int32[], updates made.
    params: the network's parameters.
    batch_stats: running statistics of batch normalization, {} without.
    opt_state: the optimizer's.
    ema: moving average of {'params', 'batch_stats'}, {} when off.
  """

  step: jax.Array
  params: Any
  batch_stats: Any
  opt_state: Any
  ema: Any

  def variables(self) -> dict[str, Any]:
    """The variables to evaluate with: the averaged ones where there are such."""
    return self.ema or {"params": self.params, "batch_stats": self.batch_stats}


def device_mesh() -> Mesh:
  """One axis, 'data', over all devices."""
  return Mesh(np.array(jax.devices()), ("data",))


def shard_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
  """Puts what the steps read of a batch on the devices, split along the first axis."""
  sharding = NamedSharding(mesh, PartitionSpec("data"))
  if len(batch["mask"]) % mesh.size:
    raise UserError(
      f"--config.train.batch_size={len(batch['mask'])} cannot be shared by "
      f"{mesh.size} devices: give a multiple of {mesh.size}"
    )
  return {name: jax.device_put(batch[name], sharding) for name in DEVICE_FIELDS}


def replicate(state: TrainState, mesh: Mesh) -> TrainState:
  """The state on every device, as the steps expect it."""
  return jax.device_put(state, NamedSharding(mesh, PartitionSpec()))


def create_state(
  model: nn.Module,
  tx: optax.GradientTransformation,
  sample: jax.Array,
  seed: int,
  *,
  ema: bool = False,
) -> TrainState:
  """A fresh state.

  Args:
    model: the network.
    tx: the optimizer.
    sample: float[batch, time, frequency, 1], for its shape.
    seed: of the weights.
    ema: keep a moving average.
  Returns:
    The state; its floats are float64 if the network computes in it, else float32.
  """
  variables = jax.jit(model.init)(jax.random.key(seed), jnp.zeros_like(sample))
  if model.dtype == jnp.float64:
    variables = jax.tree.map(lambda x: x.astype(jnp.float64), variables)
  params, batch_stats = variables["params"], variables.get("batch_stats", {})
  # A copy: the step donates the state, and two of its arrays must not be one.
  average = jax.tree.map(jnp.copy, {"params": params, "batch_stats": batch_stats}) if ema else {}
  return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, tx.init(params), average)


def frame_mask(batch: dict[str, jax.Array]) -> jax.Array:
  """bool[batch, time], False where a frame is padding."""
  return jnp.arange(batch["log_mel"].shape[1])[None] < batch["num_frames"][:, None]


def make_train_step(
  model: nn.Module,
  tx: optax.GradientTransformation,
  config,
  positive_weight: np.ndarray | None = None,
):
  """The jitted update.

  Args:
    model: the network.
    tx: the optimizer.
    config: `seed`, `augment`, `train.ema_decay` and what `make_loss` needs are read.
    positive_weight: see `losses.positive_weights`.
  Returns:
    (state, batch) -> (state, {'loss', 'accuracy'}), the state donated. An update whose loss,
    gradients or new parameters are not finite is not made: the state comes back as it was.
  """
  settings = config.train
  loss_of = make_loss(config, positive_weight)

  def train_step(state: TrainState, batch):
    rng = jax.random.fold_in(jax.random.key(config.seed), state.step)
    augment_rng, dropout_rng = jax.random.split(rng)
    batch = augment(augment_rng, batch, config.augment)

    def loss_fn(params):
      logits, updates = model.apply(
        {"params": params, "batch_stats": state.batch_stats},
        batch["log_mel"],
        frame_mask(batch),
        train=True,
        rngs={"dropout": dropout_rng},
        mutable=["batch_stats"],
      )
      loss, right = loss_of(logits, batch)
      return loss, (right, updates.get("batch_stats", {}))

    (loss, (right, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    average = {}
    if state.ema:
      # Young averages follow quickly, so that the random start is soon forgotten.
      decay = jnp.minimum(settings.ema_decay, (1 + state.step) / (10 + state.step))
      average = jax.tree.map(
        lambda old, new: old + (1 - decay).astype(old.dtype) * (new - old),
        state.ema,
        {"params": params, "batch_stats": batch_stats},
      )
    new = TrainState(state.step + 1, params, batch_stats, opt_state, average)
    finite = (
      jnp.isfinite(loss)
      & jnp.isfinite(optax.tree.norm(grads))
      & jnp.isfinite(optax.tree.norm(params))
    )
    new = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state)
    return new, {"loss": jnp.where(finite, loss, jnp.nan), "accuracy": right}

  return jax.jit(train_step, donate_argnums=0)


def make_eval_step(model: nn.Module):
  """The jitted forward pass: (variables, batch) -> float[batch, classes] logits."""

  def eval_step(variables, batch):
    return model.apply(variables, batch["log_mel"], frame_mask(batch), train=False)

  return jax.jit(eval_step)
