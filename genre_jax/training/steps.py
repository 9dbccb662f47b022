"""Define the training state and the jitted steps: pure functions of state and batch.

Batches are sharded over the devices along their first axis and the state is replicated, both by
`jax.sharding.NamedSharding`. The same step runs on one device, on several, and on several hosts.
"""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genre_jax.errors import UserError
from genre_jax.training.augment import augment
from genre_jax.training.losses import make_loss

# The entries of a batch that network and losses read; the others name tracks and stay on the host.
DEVICE_FIELDS = ("log_mel", "num_frames", "labels", "label_mask", "mask")


@flax.struct.dataclass
class TrainState:
  """The values that training changes.

  Attributes:
    step: int32[], the number of updates.
    params: Parameters of the network.
    batch_stats: Running statistics of batch normalization; {} without batch normalization.
    opt_state: State of the optimizer.
    ema: Moving average of {'params', 'batch_stats'}; {} if it is off.
  """

  step: jax.Array
  params: Any
  batch_stats: Any
  opt_state: Any
  ema: Any

  def variables(self) -> dict[str, Any]:
    """Return the variables to evaluate with: the moving average, unless it is off."""
    return self.ema or {"params": self.params, "batch_stats": self.batch_stats}


def device_mesh() -> Mesh:
  """Return a mesh of all devices with one axis, 'data'."""
  return Mesh(np.array(jax.devices()), ("data",))


def shard_batch(
  batch: dict[str, np.ndarray], mesh: Mesh
) -> dict[str, jax.Array] | dict[str, np.ndarray]:
  """Return the entries that the steps read, on the devices, sharded along the first axis.

  Args:
    batch: Arrays of one batch by name, at least DEVICE_FIELDS, and perhaps 'stop'. If the mesh has
      devices of several processes, 'log_mel' has the rows of this process alone.
    mesh: The devices.

  Returns:
    The entries DEVICE_FIELDS, and 'stop' if it is there. If the device is one CPU, they are the
    given arrays, which must not change until the step has ended.

  Raises:
    UserError: If the devices cannot share the batch equally.
  """
  sharding = NamedSharding(mesh, PartitionSpec("data"))
  size, fields = len(batch["mask"]), [*DEVICE_FIELDS, *(["stop"] if "stop" in batch else [])]
  if size % mesh.size:
    raise UserError(
      f"--config.train.batch_size={size} cannot be shared by "
      f"{mesh.size} devices: give a multiple of {mesh.size}"
    )
  if mesh.size == 1 and mesh.devices.flat[0].platform == "cpu":
    return {name: batch[name] for name in fields}  # a step takes them as they are, in less time
  if not mesh.is_multi_process:
    return {name: jax.device_put(batch[name], sharding) for name in fields}
  count = size // jax.process_count()
  rows = slice(jax.process_index() * count, (jax.process_index() + 1) * count)
  return {
    name: jax.make_array_from_process_local_data(
      sharding, batch[name] if name == "log_mel" else batch[name][rows]
    )
    for name in fields
  }


def replicate(state: TrainState, mesh: Mesh) -> TrainState:
  """Copy the state, which is equal in all processes, to every device, as the steps expect it."""
  sharding = NamedSharding(mesh, PartitionSpec())
  if not mesh.is_multi_process:
    return jax.device_put(state, sharding)
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x), x.shape), state
  )


def on_host(array: jax.Array) -> np.ndarray:
  """Return all rows of an array that is sharded over the devices of all processes."""
  if array.is_fully_addressable:
    return np.asarray(array)
  return multihost_utils.process_allgather(array, tiled=True)


def create_state(
  model: nn.Module,
  tx: optax.GradientTransformation,
  sample: jax.Array,
  seed: int,
  *,
  ema: bool = False,
) -> TrainState:
  """Create a state with random weights.

  Args:
    model: The network.
    tx: The optimizer.
    sample: float[batch, time, frequency, 1], of which the shape is used.
    seed: Seed of the weights.
    ema: True to keep a moving average.

  Returns:
    The state; its floats are float64 if the network computes in float64, else float32.
  """
  variables = jax.jit(model.init)(jax.random.key(seed), jnp.zeros_like(sample))
  if model.dtype == jnp.float64:
    variables = jax.tree.map(lambda x: x.astype(jnp.float64), variables)
  params, batch_stats = variables["params"], variables.get("batch_stats", {})
  # A copy: the step donates the state, and two of its arrays must not be one.
  average = jax.tree.map(jnp.copy, {"params": params, "batch_stats": batch_stats}) if ema else {}
  return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, tx.init(params), average)


def frame_mask(batch: dict[str, jax.Array]) -> jax.Array:
  """Return bool[batch, time], False where a frame is padding."""
  return jnp.arange(batch["log_mel"].shape[1])[None] < batch["num_frames"][:, None]


def make_train_step(
  model: nn.Module,
  tx: optax.GradientTransformation,
  config,
  positive_weight: np.ndarray | None = None,
):
  """Return the jitted update.

  Args:
    model: The network.
    tx: The optimizer.
    config: It reads `seed`, `augment`, `train.ema_decay` and the fields that `make_loss` reads.
    positive_weight: float[classes], see `losses.positive_weights`.

  Returns:
    A function (state, batch) -> (state, {'loss', 'accuracy', 'stop'}) that donates the state. If
    the loss, the gradients or the new parameters are not finite, it returns the state unchanged.
    'stop' is the largest value of batch['stop'], which processes send each other by it; 0 if it is
    absent.
  """
  settings = config.train
  loss_of = make_loss(config, positive_weight)

  def train_step(state: TrainState, batch):
    rng = jax.random.fold_in(jax.random.key(config.seed), state.step)
    augment_rng, dropout_rng = jax.random.split(rng)
    stop = jnp.max(batch["stop"]) if "stop" in batch else 0
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
      loss, accuracy = loss_of(logits, batch)
      return loss, (accuracy, updates.get("batch_stats", {}))

    (loss, (accuracy, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    # Optax combines its integer step with Python floats, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
      updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    average = {}
    if state.ema:
      # At first the average follows quickly, so that the random initial weights lose influence.
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
    metrics = {"loss": jnp.where(finite, loss, jnp.nan), "accuracy": accuracy}
    return new, {**metrics, "stop": stop}

  return jax.jit(train_step, donate_argnums=0)


def make_eval_step(model: nn.Module):
  """Return the jitted forward pass: (variables, batch) -> logits, float[batch, classes]."""

  def eval_step(variables, batch):
    return model.apply(variables, batch["log_mel"], frame_mask(batch), train=False)

  return jax.jit(eval_step)
