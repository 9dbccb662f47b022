"""Test the shared layers against Flax, NumPy or their documented properties."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.models.layers import BatchNorm, Conv, center_frames, masked_statistics, max_pool


def test_centered_frames_have_mean_zero_and_a_floor(log_mel):
  x = center_frames(log_mel, floor_db=60.0)
  np.testing.assert_allclose(x.mean(2), 0.0, atol=1e-4)
  assert float((x.max(2) - x.min(2)).max()) <= 60.0 + 1e-3


@pytest.mark.parametrize("kernel", [(1, 5), (5, 1), (3, 3), (4, 4)])
def test_convolution_equals_flax(kernel):
  x = jax.random.normal(jax.random.key(0), (2, 12, 10, 3))
  ours = Conv(4, kernel)
  variables = ours.init(jax.random.key(1), x)
  width = kernel[1]
  theirs = nn.Conv(4, kernel, padding=((0, 0), (width // 2, (width - 1) // 2)), use_bias=False)
  np.testing.assert_allclose(ours.apply(variables, x), theirs.apply(variables, x), atol=1e-5)


@pytest.mark.slow
def test_batch_norm_equals_flax():
  x = 3.0 + 2.0 * jax.random.normal(jax.random.key(0), (8, 9, 5))
  target = jax.random.normal(jax.random.key(1), x.shape)
  results = []
  for module in (
    BatchNorm(False, momentum=0.9),
    nn.BatchNorm(use_running_average=False, momentum=0.9),
  ):
    variables = module.init(jax.random.key(2), x)

    def loss(x, params, module=module, variables=variables):
      y, updates = module.apply({**variables, "params": params}, x, mutable=["batch_stats"])
      return jnp.square(y - target).sum(), updates["batch_stats"]

    results.append(jax.grad(loss, (0, 1), has_aux=True)(x, variables["params"]))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), *results)


def test_statistics_of_valid_frames():
  x = jax.random.normal(jax.random.key(0), (2, 7, 3))
  mask = jnp.arange(7)[None] < jnp.array([[7], [4]])
  out = masked_statistics(x, mask.astype(x.dtype))
  np.testing.assert_allclose(
    out[1], jnp.concatenate([x[1, :4].mean(0), x[1, :4].std(0), x[1, :4].max(0)]), atol=1e-4
  )
  with pytest.raises(ValueError, match="median"):
    masked_statistics(x, mask, ("median",))


def test_pooling_drops_the_remainder():
  x = jnp.arange(2 * 5 * 3 * 1.0).reshape(2, 5, 3, 1)
  first = [[[4.0], [10.0]], [[19.0], [25.0]]]
  np.testing.assert_array_equal(max_pool(x)[..., 0], first)
