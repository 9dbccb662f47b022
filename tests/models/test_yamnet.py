"""Test the layers of YAMNet; test_yamnet_weights.py compares the network to the original."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from genre_jax.models.yamnet import DepthwiseConv


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(2, 6, 4, 5), (1, 5, 7, 3), (1, 1, 2, 3)])
def test_depthwise_convolution_equals_that_of_flax(rng, stride, shape):
  x = jax.random.normal(rng, shape)
  own = DepthwiseConv(stride)
  flax = nn.Conv(shape[-1], (3, 3), stride, feature_group_count=shape[-1])
  variables = flax.init(rng, x)
  assert jax.tree.map(np.shape, own.init(rng, x)) == jax.tree.map(np.shape, variables)
  np.testing.assert_allclose(own.apply(variables, x), flax.apply(variables, x), atol=1e-5)
