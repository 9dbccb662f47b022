"""Test the training step against plain JAX, and compiled against eager computation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from genre_jax.errors import UserError
from genre_jax.models.baseline import Baseline
from genre_jax.training import losses, steps


class Tiny(nn.Module):
  """A network without cost: a dense layer on the mean spectrum."""

  num_classes: int
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, log_mel, frame_mask=None, *, train=False):
    return nn.Dense(self.num_classes, name="logits")(log_mel.mean((1, 3)))


def _config(**train):
  return ml_collections.ConfigDict(
    {"seed": 0, "augment": {}, "train": {"label_smoothing": 0.0, "ema_decay": 0.0, **train}}
  )


def _batch(n=8, frames=16, mels=8, k=3, seed=0):
  rng = np.random.default_rng(seed)
  return {
    "log_mel": rng.normal(size=(n, frames, mels, 1)).astype(np.float32),
    "num_frames": np.full(n, frames, np.int32),
    "labels": np.eye(k, dtype=np.float32)[rng.integers(0, k, n)],
    "label_mask": np.ones((n, k), np.float32),
    "mask": np.ones(n, bool),
  }


def _state(model, tx, batch, ema=False):
  return steps.create_state(model, tx, jnp.asarray(batch["log_mel"][:1]), 0, ema=ema)


def test_step_equals_plain_gradient_descent():
  model, tx, batch = Tiny(3), optax.sgd(0.1), _batch()
  state = _state(model, tx, batch)
  before = jax.tree.map(np.array, state.params)

  def loss(params):
    logits = model.apply({"params": params}, batch["log_mel"])
    return -(jax.nn.log_softmax(logits) * batch["labels"]).sum(-1).mean()

  expected = jax.tree.map(lambda p, g: p - 0.1 * g, before, jax.grad(loss)(before))
  new, metrics = steps.make_train_step(model, tx, _config())(state, batch)
  assert int(new.step) == 1
  np.testing.assert_allclose(metrics["loss"], loss(before), rtol=1e-6)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), new.params, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("channels", "size", "atol"),
  # With Flax's batch normalization jaxlib 0.10.1 computes gradients of the second that are off by
  # 3.7. One segment has so few places that rounding is larger there.
  [((4, 8), (4, 32, 16), 1e-5), ((16, 32, 64, 128), (1, 52, 21), 5e-4)],
)
def test_compiled_gradients_equal_eager_ones(channels, size, atol):
  """A compiler that computes wrong results on CPU fails here, as jaxlib 0.10.2 does."""
  model, batch = Baseline(num_classes=3, channels=channels), _batch(*size)
  variables = jax.jit(model.init)(jax.random.key(0), batch["log_mel"])

  def loss(params):
    logits, _ = model.apply(
      {"params": params, "batch_stats": variables["batch_stats"]},
      batch["log_mel"],
      train=True,
      rngs={"dropout": jax.random.key(1)},
      mutable=["batch_stats"],
    )
    return losses.cross_entropy(logits, batch["labels"], batch["mask"])

  options = {"xla_backend_optimization_level": 3}  # that of users; tests compile with less
  compiled = jax.jit(jax.grad(loss), compiler_options=options)(variables["params"])
  with jax.disable_jit():
    eager = jax.grad(loss)(variables["params"])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=atol), compiled, eager)


def test_masked_rows_change_nothing():
  batch = _batch()
  logits = jnp.asarray(np.random.default_rng(1).normal(size=(8, 3)), jnp.float32)
  part = losses.cross_entropy(logits[:5], batch["labels"][:5], jnp.ones(5))
  whole = losses.cross_entropy(logits, batch["labels"], jnp.arange(8) < 5)
  np.testing.assert_allclose(part, whole, rtol=1e-6)


def test_loss_of_extreme_logits_is_finite():
  logits = jnp.array([[1e4, -1e4, 0.0]])
  loss, grad = jax.value_and_grad(losses.cross_entropy)(
    logits, jnp.array([[0.0, 1.0, 0.0]]), jnp.ones(1), label_smoothing=0.1
  )
  assert np.isfinite(loss) and np.isfinite(grad).all()


def test_loss_without_rows_is_zero():
  assert losses.cross_entropy(jnp.ones((2, 3)), jnp.eye(3)[:2], jnp.zeros(2)) == 0


@pytest.mark.parametrize("ema", [False, True])
def test_a_loss_that_is_not_finite_changes_nothing(ema):
  model, tx, batch = Tiny(3), optax.adam(0.1), _batch()
  state = _state(model, tx, batch, ema)
  before = jax.tree.map(np.array, state)
  batch["log_mel"][3] = np.nan
  new, metrics = steps.make_train_step(model, tx, _config(ema_decay=0.9 * ema))(state, batch)
  assert np.isnan(metrics["loss"])
  jax.tree.map(np.testing.assert_array_equal, new, before)


def test_average_follows_the_parameters():
  model, tx, batch = Tiny(3), optax.sgd(0.1), _batch()
  state = _state(model, tx, batch, ema=True)
  first = np.array(state.params["logits"]["kernel"])
  new, _ = steps.make_train_step(model, tx, _config(ema_decay=0.99))(state, batch)
  expected = first + 0.9 * (np.array(new.params["logits"]["kernel"]) - first)
  np.testing.assert_allclose(new.ema["params"]["logits"]["kernel"], expected, atol=1e-6)
  assert new.variables() is new.ema


def test_a_step_takes_host_arrays_and_device_arrays_alike():
  model, tx, batch = Baseline(3), optax.adam(0.1), _batch()
  step = steps.make_train_step(model, tx, _config())
  one = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
  shared = steps.shard_batch({**batch, "track": np.arange(8)}, one)
  assert shared.keys() == batch.keys()
  (a, first), (b, second) = (
    step(_state(model, tx, batch), given) for given in (shared, jax.device_put(batch))
  )
  jax.tree.map(np.testing.assert_array_equal, (a, first), (b, second))


def test_a_batch_that_devices_cannot_share_is_refused():
  mesh = jax.sharding.AbstractMesh((3,), ("data",))
  with pytest.raises(UserError, match="multiple of 3"):
    steps.shard_batch(_batch(), mesh)
