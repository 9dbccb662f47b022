"""Test that fast convolutions equal XLA's, with gradients, and that the layer equals Flax's."""

import contextlib
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.models import fast_conv
from tests.models.conftest import random_variables


def _shapes(count, sizes=(1, 2, 3, 5, 9), channel_numbers=(1, 3, 4, 16, 33, 40)):
  """Yield random shapes of x and kernel, with few and many bands, frames and channels."""
  rng = np.random.default_rng(0)
  for _ in range(count):
    height, width = (int(n) for n in rng.choice(sizes, 2))
    channels, features = (int(n) for n in rng.choice(channel_numbers, 2))
    size, frames, bands = (int(n) for n in rng.integers(1, [4, 12, 30]))
    yield (size, frames, bands, channels), (height, width, channels, features)


def _output_and_gradients(layer, variables, x):
  """Return y, the gradient by x and those by the variables, for the same random dy."""

  def run(variables, x):
    y, vjp = jax.vjp(layer.apply, variables, x)
    return y, vjp(jax.random.normal(jax.random.key(2), y.shape, y.dtype))

  return jax.tree.leaves(jax.jit(run)(variables, x))


def _pair(shape, kernel, dtype=jnp.float32, use_bias=True):
  """Return (our layer, Flax's layer, variables, x)."""
  ours = fast_conv.FastConv(kernel[-1], kernel[:2], use_bias=use_bias, dtype=dtype)
  theirs = nn.Conv(kernel[-1], kernel[:2], use_bias=use_bias, dtype=dtype, precision="highest")
  x = jax.random.normal(jax.random.key(0), shape)
  return ours, theirs, random_variables(theirs, x), x


def _assert_equal(ours, theirs, variables, x, tolerance):
  for actual, expected in zip(
    *(_output_and_gradients(layer, variables, x) for layer in (ours, theirs)), strict=True
  ):
    assert actual.dtype == expected.dtype
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("kernel", [(3, 5, 4, 16), (1, 9, 64, 80)])
def test_initial_parameters_equal_flax(kernel):
  ours, theirs, _, x = _pair((2, 4, 12, kernel[2]), kernel)
  variables, same = (jax.jit(layer.init)(jax.random.key(1), x) for layer in (theirs, ours))
  jax.tree.map(np.testing.assert_array_equal, same, variables)


@pytest.mark.parametrize(
  ("shape", "kernel"),
  [
    pytest.param(*case, marks=() if number in (0, 3, 4) else pytest.mark.slow)
    for number, case in enumerate([*_shapes(6), *_shapes(4, (1, 3, 4, 5), (64, 80, 256))])
  ],
)
def test_output_and_gradients_equal_flax(shape, kernel):
  _assert_equal(*_pair(shape, kernel), 1e-5)


def test_without_bias_equals_flax():
  _assert_equal(*_pair((2, 6, 9, 3), (3, 3, 3, 4), use_bias=False), 1e-5)


@pytest.mark.parametrize(
  ("length", "width", "padding", "features"),
  [(96, 9, (4, 4), 16), (7, 7, (0, 0), 64), (1, 1, (0, 0), 3), (5, 4, (1, 2), 200)],
)
def test_blocks_equal_xla(length, width, padding, features):
  x = jax.random.normal(jax.random.key(0), (3, length))
  kernel = jax.random.normal(jax.random.key(1), (width, features))

  def plain(x, kernel):
    names = ("NHC", "HIO", "NHC")
    return jax.lax.conv_general_dilated(
      x[..., None], kernel[:, None], (1,), [padding], dimension_numbers=names
    )

  @functools.partial(jax.jit, static_argnums=0)
  def run(form, x, kernel):
    y, vjp = jax.vjp(form, x, kernel)
    return y, *vjp(jax.random.normal(jax.random.key(2), y.shape))

  blocks = functools.partial(fast_conv.blocks_1d, padding=padding)
  for actual, expected in zip(run(blocks, x, kernel), run(plain, x, kernel), strict=True):
    atol = 1e-5 * float(jnp.abs(expected).max())
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.bfloat16, 0.04), (jnp.float64, 1e-13)])
@pytest.mark.parametrize(
  "kernel",
  [
    pytest.param((5, 5, 3, 4), marks=pytest.mark.slow),
    pytest.param((3, 3, 16, 16), marks=pytest.mark.slow),
    (5, 1, 16, 4),
  ],
)
def test_other_dtypes(kernel, dtype, tolerance):
  with jax.enable_x64(True) if dtype == jnp.float64 else contextlib.nullcontext():
    ours, theirs, variables, x = _pair((2, 7, 13, kernel[2]), kernel, dtype)
    variables, x = jax.tree.map(lambda value: value.astype(dtype), (variables, x))
    _assert_equal(ours, theirs, variables, x, tolerance)


@pytest.mark.parametrize(
  ("channels", "features"), [(1, 4), pytest.param(64, 64, marks=pytest.mark.slow)]
)
def test_a_value_that_is_not_finite_stays_in_its_row(channels, features):
  ours, _, variables, x = _pair((3, 6, 24, channels), (3, 3, channels, features))

  @jax.jit
  def run(x):
    y, vjp = jax.vjp(lambda x: ours.apply(variables, x), x)
    return y, *vjp(jnp.ones_like(y).at[1, 2, 11].set(jnp.inf))

  for value in run(x.at[1, 2, 11].set(-jnp.inf)):
    assert np.isfinite(value[0]).all() and np.isfinite(value[2]).all()
    assert not np.isfinite(value[1]).all()


def test_other_platforms_and_inference_use_xlas_convolution():
  x, kernel, bias = jnp.ones((2, 8, 8, 1)), jnp.ones((3, 3, 1, 4)), jnp.ones(4)

  def train(x, kernel, bias):
    return jax.value_and_grad(lambda kernel: fast_conv.conv(x, kernel, bias).sum())(kernel)

  def wide(function, platform):
    lowered = jax.jit(function).trace(x, kernel, bias).lower(lowering_platforms=(platform,))
    return "x32xf32>" in lowered.as_text()  # eight bands of four channels as 32 channels

  assert wide(train, "cpu")
  assert not wide(train, "cuda") and not wide(train, "tpu") and not wide(fast_conv.conv, "cpu")
