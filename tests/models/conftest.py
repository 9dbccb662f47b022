"""Define fixtures of the tests of networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.models import axis_statistics


def random_variables(model, x):
  """Return random variables of a network, which takes less than to compile its own initialization.

  Kernels keep the variance of their input. No scale is 1 and no statistic or bias is 0.
  """
  rng = np.random.default_rng(0)

  def values(path, shape):
    name = path[-1].key
    if name.endswith("kernel"):
      values = rng.normal(0, np.sqrt(2 / np.prod(shape.shape[:-1])), shape.shape)
    elif name.endswith(("var", "scale")):
      values = rng.uniform(0.8, 1.2, shape.shape)
    else:
      values = rng.normal(0, 0.1, shape.shape)
    return jnp.asarray(values, shape.dtype)

  return jax.tree.map_with_path(values, jax.eval_shape(model.init, jax.random.key(0), x))


@pytest.fixture(scope="session")
def log_mel():
  """Return float32[3, 52, 128, 1] in dB."""
  return jax.random.uniform(jax.random.key(1), (3, 52, 128, 1), minval=-80.0, maxval=0.0)


@pytest.fixture(scope="session")
def parameters():
  """Return a function that counts the parameters of a network."""

  def count(model):
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 52, 128, 1)))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))

  return count


@pytest.fixture(scope="session")
def flops():
  """Return a function that counts the operations of a network on one segment, as XLA does.

  Products with the zeros of a block of waves are left out: with one frame a block there are none.
  """

  def count(model, frames):
    x = jnp.zeros((1, frames, 128, 1))
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(axis_statistics, "BLOCK", 1)
      variables = jax.eval_shape(model.init, jax.random.key(0), x)
      return jax.jit(model.apply).lower(variables, x).cost_analysis()["flops"]

  return count


@pytest.fixture(scope="session")
def assert_gain_invariant(log_mel):
  """Return an assertion that a constant added to all dB changes no logit."""

  def check(variables, apply, **tolerances):
    logits = apply(variables, log_mel)
    assert float(jnp.abs(logits).max()) > 0.01
    for gain in (-37.5, 12.0):
      np.testing.assert_allclose(apply(variables, log_mel + gain), logits, **tolerances)

  return check
