"""What the tests of networks share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.fixture(scope="session")
def log_mel():
  """float32[3, 52, 128, 1], dB."""
  return jax.random.uniform(jax.random.key(1), (3, 52, 128, 1), minval=-80.0, maxval=0.0)


@pytest.fixture(scope="session")
def parameters():
  """Counts the trained numbers of a network."""

  def count(model):
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 52, 128, 1)))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))

  return count


@pytest.fixture(scope="session")
def flops():
  """Counts the operations of a network on a window of some frames, as XLA does."""

  def count(model, frames):
    x = jnp.zeros((1, frames, 128, 1))
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    return jax.jit(model.apply).lower(variables, x).cost_analysis()["flops"]

  return count


@pytest.fixture(scope="session")
def assert_gain_invariant(log_mel):
  """Asserts that a constant added to all dB changes no logit, and that there are logits."""

  def check(variables, apply, **tolerances):
    logits = apply(variables, log_mel)
    assert float(jnp.abs(logits).max()) > 0.01
    for gain in (-37.5, 12.0):
      np.testing.assert_allclose(apply(variables, log_mel + gain), logits, **tolerances)

  return check
