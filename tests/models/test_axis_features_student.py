"""Test that the student's units join the statistics, and that the tool makes a layer for them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.models.axis_features import AxisFeatures
from genre_jax.models.axis_features_student import AxisFeaturesStudent
from tools import distill_fit

SEGMENT = (2, 48, 128, 1)


@pytest.fixture(scope="module")
def variables():
  return jax.jit(AxisFeaturesStudent(num_classes=3).init)(jax.random.key(0), jnp.zeros(SEGMENT))


def _statistics(network, log_mel, **params):
  """Return the statistics that the heads of a network get."""
  variables = network.init(jax.random.key(0), log_mel)
  variables = {**variables, "params": {**variables["params"], **params}}
  _, state = network.apply(
    variables,
    log_mel,
    mutable=["intermediates"],
    capture_intermediates=lambda module, _: module.name == "statistics_norm",
  )
  # Its mean is 0 and its variance 1.
  return np.asarray(state["intermediates"]["statistics_norm"]["__call__"][0])


def test_units_join_the_statistics(log_mel):
  alone = _statistics(AxisFeatures(num_classes=3), log_mel)
  rng = np.random.default_rng(0)
  kernel = rng.normal(size=(alone.shape[1], AxisFeaturesStudent.student)).astype(np.float32)
  bias = rng.normal(size=kernel.shape[1]).astype(np.float32)
  layer = {"kernel": kernel, "bias": bias}
  both = _statistics(AxisFeaturesStudent(num_classes=3), log_mel, student=layer)
  np.testing.assert_allclose(both[:, : alone.shape[1]], alone, atol=1e-5)
  expected = np.maximum(alone @ kernel + bias, 0)
  np.testing.assert_allclose(both[:, alone.shape[1] :], expected, atol=1e-3)


def test_the_layer_of_the_tool_contains_its_normalizations():
  network = distill_fit.Student(units=4)
  x = np.random.default_rng(0).normal(3, 2, (5, 6)).astype(np.float32)
  variables = network.init(jax.random.key(0), x)
  variables = jax.tree.map(
    lambda value: (
      value + 0.5 * jnp.sin(jnp.arange(value.size, dtype=jnp.float32)).reshape(value.shape)
    ),
    variables,
  )
  kernel, bias = distill_fit.Student.folded(variables)
  last = jax.tree.map(np.asarray, variables["params"]["embedding"])
  expected = np.maximum(x @ kernel + bias, 0) @ last["kernel"] + last["bias"]
  np.testing.assert_allclose(network.apply(variables, x), expected, atol=1e-4)


@pytest.mark.slow
def test_the_student_is_not_trained(variables):
  model, x = (
    AxisFeaturesStudent(num_classes=3),
    jax.random.normal(jax.random.key(1), SEGMENT) * 20 - 40,
  )

  def loss(params):
    return jnp.square(model.apply({**variables, "params": params}, x) - 1).sum()

  grads = jax.jit(jax.grad(loss))(variables["params"])
  assert not any(leaf.any() for leaf in jax.tree.leaves(grads["student"]))
  assert grads["logits_hidden"]["kernel"].any()
