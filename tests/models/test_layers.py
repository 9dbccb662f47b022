"""Test the shared layers against Flax, NumPy or their documented properties."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.models.layers import BatchNorm, center_frames, max_pool


def test_centered_frames_have_mean_zero_and_a_floor(log_mel):
  x = center_frames(log_mel, floor_db=60.0)
  np.testing.assert_allclose(x.mean(2), 0.0, atol=1e-4)
  assert float((x.max(2) - x.min(2)).max()) <= 60.0 + 1e-3


@pytest.mark.slow
def test_batch_norm_equals_flax():
  x = 3.0 + 2.0 * jax.random.normal(jax.random.key(0), (8, 9, 5))
  target = jax.random.normal(jax.random.key(1), x.shape)
  results = []
  for module in (
    BatchNorm(False),
    nn.BatchNorm(use_running_average=False, momentum=0.9),
  ):
    variables = module.init(jax.random.key(2), x)

    def loss(x, params, module=module, variables=variables):
      y, updates = module.apply({**variables, "params": params}, x, mutable=["batch_stats"])
      return jnp.square(y - target).sum(), updates["batch_stats"]

    results.append(jax.grad(loss, (0, 1), has_aux=True)(x, variables["params"]))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), *results)


def test_pooling_drops_the_remainder():
  x = jnp.arange(2 * 5 * 3 * 1.0).reshape(2, 5, 3, 1)
  first = [[[4.0], [10.0]], [[19.0], [25.0]]]
  np.testing.assert_array_equal(max_pool(x)[..., 0], first)
