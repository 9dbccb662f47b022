"""Test that `split_cnn` starts as `axis_features` and that what it learns keeps its invariances."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genre_jax.experiments import base
from genre_jax.models.axis_features import AxisFeatures
from genre_jax.models.axis_kernels import CEPSTRAL_RATES, MODULATION_FRAMES, RATES
from genre_jax.models.split_cnn import SplitCnn, SquareCnn
from genre_jax.training.optimizer import decay_mask
from tests.models.conftest import random_variables

FRAMES = 52  # of log_mel
CHANGES = {"cosines_kernel", "waves_kernel", "cepstral_waves_kernel"}
ALL = (SplitCnn, pytest.param(SquareCnn, marks=pytest.mark.slow))


@pytest.fixture(scope="module", params=ALL, ids=lambda kind: kind.__name__)
def network(request, log_mel):
  """Return (module, random variables, compiled apply) of each network."""
  model = request.param(num_classes=4)
  variables = random_variables(model, log_mel)
  return model, variables, jax.jit(model.apply)


def _train(model, log_mel, steps=3):
  """Return the variables after some steps of AdamW."""
  variables = jax.jit(model.init)(jax.random.key(0), log_mel)
  tx = optax.adamw(1e-2)
  params, stats = variables["params"], variables["batch_stats"]
  opt_state = tx.init(params)

  def loss(params, stats, rng):
    logits, updates = model.apply(
      {"params": params, "batch_stats": stats},
      log_mel,
      train=True,
      rngs={"dropout": rng},
      mutable=["batch_stats"],
    )
    return jnp.square(logits - jnp.arange(4.0)[None]).mean(), updates["batch_stats"]

  @jax.jit
  def step(params, stats, opt_state, rng):
    grads, stats = jax.grad(loss, has_aux=True)(params, stats, rng)
    with jax.numpy_dtype_promotion("standard"):
      updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), stats, opt_state

  for i in range(steps):
    params, stats, opt_state = step(params, stats, opt_state, jax.random.key(i))
  return {"params": params, "batch_stats": stats}


@pytest.mark.slow
def test_with_scale_0_training_equals_that_of_axis_features(log_mel):
  fixed, learned = AxisFeatures(num_classes=4), SplitCnn(num_classes=4, kernel_scale=0.0)
  expected, actual = _train(fixed, log_mel), _train(learned, log_mel)
  assert actual["params"].keys() - expected["params"].keys() == CHANGES
  for name in CHANGES:
    assert not actual["params"].pop(name).any()
  jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.slow
def test_changes_of_0_give_the_logits_of_axis_features(log_mel):
  fixed, learned = AxisFeatures(num_classes=4), SplitCnn(num_classes=4)
  variables = jax.jit(learned.init)(jax.random.key(0), log_mel)
  without = {k: v for k, v in variables["params"].items() if k not in CHANGES}
  np.testing.assert_allclose(
    jax.jit(learned.apply)(variables, log_mel),
    jax.jit(fixed.apply)({**variables, "params": without}, log_mel),
    atol=1e-4,
    rtol=1e-4,
  )


@pytest.mark.slow
def test_training_changes_every_kernel(log_mel):
  params = _train(SplitCnn(num_classes=4), log_mel)["params"]
  assert all(float(jnp.abs(params[name]).max()) > 0 for name in CHANGES)


def test_weight_decay_pulls_the_kernels_to_their_start(log_mel):
  """AdamW decays parameters whose names end in 'kernel', and a change of 0 is the start."""
  pattern = base.get_config().optimizer.weight_decay_on
  shapes = jax.eval_shape(SplitCnn(num_classes=4).init, jax.random.key(0), log_mel)["params"]
  marked = decay_mask(pattern)(shapes)
  assert all(marked[name] for name in CHANGES)


def test_a_gain_changes_no_logit(network, assert_gain_invariant):
  _, variables, apply = network
  assert_gain_invariant(variables, apply, atol=1e-3, rtol=1e-4)


@pytest.mark.slow
def test_padded_frames_change_no_logit(network, log_mel):
  _, variables, apply = network
  mask = jnp.arange(FRAMES)[None] < jnp.array([FRAMES, 40, 12])[:, None]
  noise = jax.random.normal(jax.random.key(2), log_mel.shape) * 30.0
  other = jnp.where(mask[:, :, None, None], log_mel, noise)
  np.testing.assert_allclose(
    apply(variables, other, mask), apply(variables, log_mel, mask), atol=1e-5, rtol=1e-5
  )


def test_a_segment_shorter_than_a_kernel_gives_logits(network, log_mel):
  _, variables, apply = network
  logits = apply(variables, log_mel[:, :12])
  assert bool(jnp.isfinite(logits).all()) and float(jnp.ptp(logits, axis=0).max()) > 0


def test_the_square_control_has_the_same_cost(parameters, flops):
  split, square = SplitCnn(num_classes=10), SquareCnn(num_classes=10)
  assert abs(parameters(square) / parameters(split) - 1) <= 0.01
  assert parameters(split) <= 250_000
  assert abs(flops(square, 96) / flops(split, 96) - 1) <= 0.1


def test_kernels_lie_along_one_axis(log_mel):
  """The kernels along frequency are as tall as the spectrum, those along time one column wide."""
  shapes = jax.eval_shape(SplitCnn(num_classes=4).init, jax.random.key(0), log_mel)["params"]
  bands = log_mel.shape[2]
  assert shapes["cosines_kernel"].shape == (bands, bands - 1)
  assert shapes["waves_kernel"].shape == (MODULATION_FRAMES, 2 * len(RATES))
  assert shapes["cepstral_waves_kernel"].shape == (MODULATION_FRAMES, 2 * len(CEPSTRAL_RATES))
