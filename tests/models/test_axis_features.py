"""Test that `axis_features` ignores level and padding, and that each kernel covers one axis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft

from genre_jax.models import axis_kernels as kernels
from genre_jax.models import axis_statistics as lib
from genre_jax.models.axis_features import (
  AxisFeatures,
  AxisFeatures2d,
  AxisFeaturesFrequency,
  AxisFeaturesTime,
)
from genre_jax.models.fast_conv import FastConv
from genre_jax.models.layers import BatchNorm
from tests.models.conftest import random_variables

FRAMES = 52  # of log_mel
ALL = (AxisFeatures, AxisFeaturesFrequency, AxisFeaturesTime, AxisFeatures2d)


@pytest.fixture(
  scope="module",
  params=[
    AxisFeatures,
    *(pytest.param(kind, marks=pytest.mark.slow) for kind in ALL if kind is not AxisFeatures),
  ],
  ids=lambda kind: kind.__name__,
)
def network(request, log_mel):
  """Return (module, random variables, compiled apply) of each network."""
  model = request.param(num_classes=4)
  variables = random_variables(model, log_mel)
  return model, variables, jax.jit(model.apply)


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
  np.testing.assert_allclose(
    apply(variables, other, mask)[1:2], apply(variables, log_mel[1:2, :40]), atol=1e-4, rtol=1e-4
  )


@pytest.mark.parametrize("frames", [1, 12])
def test_a_short_segment_gives_logits(network, log_mel, frames):
  _, variables, apply = network
  logits = apply(variables, log_mel[:, :frames])
  assert bool(jnp.isfinite(logits).all())
  assert frames == 1 or float(jnp.ptp(logits, axis=0).max()) > 0


@pytest.mark.slow
def test_silence_and_no_valid_frame_give_finite_gradients(network, log_mel):
  model, variables, _ = network
  silence = jnp.full_like(log_mel, -80.0)

  def loss(params, x):
    return model.apply({**variables, "params": params}, x, jnp.zeros(log_mel.shape[:2], bool)).sum()

  value, grads = jax.jit(jax.value_and_grad(loss, (0, 1)))(variables["params"], silence)
  assert bool(jnp.isfinite(value))
  assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(grads))


@pytest.mark.slow
def test_eager_equals_compiled(network, log_mel):
  model, variables, apply = network
  np.testing.assert_allclose(
    model.apply(variables, log_mel[:1]), apply(variables, log_mel)[:1], atol=1e-4, rtol=1e-4
  )


@pytest.mark.slow
def test_each_head_is_trained_on_its_own_segments(log_mel):
  """If one head gets all segments, the other has no gradient."""
  log_mel = jnp.tile(log_mel, (4, 1, 1, 1))  # of twelve segments both heads get some

  variables = random_variables(AxisFeatures(num_classes=4), log_mel)

  @jax.jit
  def gradients(share):
    model = AxisFeatures(num_classes=4, linear_share=share)

    def loss(params):
      logits, _ = model.apply(
        {**variables, "params": params},
        log_mel,
        train=True,
        rngs={"dropout": jax.random.key(1)},
        mutable=["batch_stats"],
      )
      return jnp.square(logits - 1).sum()

    gradient = jax.grad(loss)(variables["params"])
    return [gradient[f"logits_{head}"]["kernel"] for head in ("linear", "hidden")]

  def grads(share):
    return [float(jnp.abs(kernel).max()) for kernel in gradients(share)]

  linear, hidden = grads(1.0)
  assert linear > 0 and hidden == 0
  linear, hidden = grads(0.0)
  assert linear == 0 and hidden > 0
  assert min(grads(0.5)) > 0


@pytest.mark.slow
def test_running_statistics_converge_within_thirty_steps(log_mel):
  """After a short training on few tracks, their initial values must have no influence."""
  model = AxisFeatures(num_classes=4)
  variables = jax.jit(model.init)(jax.random.key(0), log_mel)
  step = jax.jit(
    lambda v: model.apply(
      v, log_mel, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(1)}
    )[1]
  )
  history = [variables["batch_stats"]]
  for _ in range(90):
    history.append(step({**variables, "batch_stats": history[-1]})["batch_stats"])
  start, late, end = (history[i]["statistics_norm"]["var"] for i in (0, 30, 90))
  assert float(jnp.abs(start / end - 1).max()) > 1
  np.testing.assert_allclose(late, end, atol=0.05)


@pytest.mark.parametrize("classes", [4, 10])
def test_controls_have_the_size_of_axis_features(parameters, classes):
  size = parameters(AxisFeatures(num_classes=classes))
  assert size <= 250_000
  for kind in (AxisFeaturesFrequency, AxisFeaturesTime, AxisFeatures2d):
    assert abs(parameters(kind(num_classes=classes)) / size - 1) <= 0.02, kind.__name__


@pytest.mark.parametrize("frames", [26, 96])  # of the segments of the protocols
def test_the_square_control_has_the_same_cost(flops, frames):
  ratio = flops(AxisFeatures2d(num_classes=4), frames) / flops(AxisFeatures(num_classes=4), frames)
  assert abs(ratio - 1) <= 0.1


@pytest.mark.parametrize(
  ("axis", "square"), [("frequency", False), ("time", False), ("frequency", True), ("time", True)]
)
def test_differences_cover_one_axis_and_those_of_the_control_both(axis, square):
  x = np.random.default_rng(0).normal(size=(2, 30, 40, 1)).astype(np.float32)
  out = np.asarray(lib.AxisDifferences(axis, square)(jnp.asarray(x)))
  assert out.shape == (2, 30, 40, len(kernels.LAGS))
  for i, lag in enumerate(kernels.LAGS):
    frames = lag if square or axis == "time" else 0
    bands = 0 if axis == "time" and not square else lag
    rising = x[:, frames:, bands:, 0] - x[:, : 30 - frames, : 40 - bands, 0]
    falling = x[:, frames:, : 40 - bands, 0] - x[:, : 30 - frames, bands:, 0]
    expected = np.abs(falling if square and axis == "time" else rising)
    np.testing.assert_allclose(out[:, : 30 - frames, : 40 - bands, i], expected, atol=1e-6)
    assert not out[:, 30 - frames :, :, i].any() and not out[..., 40 - bands :, i].any()


def test_there_are_1252_statistics():
  model, x = AxisFeatures(num_classes=4), jnp.zeros((1, 64, 128, 1))
  shapes = jax.eval_shape(model.init, jax.random.key(0), x)
  assert shapes["params"]["hidden"]["kernel"].shape[0] == 1252


def test_layers_for_grad_cam_are_marked():
  assert lib.AxisDifferences.grad_cam_layer and FastConv.grad_cam_layer
  assert not hasattr(BatchNorm, "grad_cam_layer")


def test_the_cepstrum_is_scipys():
  x = np.random.default_rng(0).normal(size=(2, 5, 64)).astype(np.float32)
  expected = scipy.fft.dct(x, axis=2, norm="ortho")[..., 1:]
  parts = lib.cepstrum(jnp.asarray(x), kernels.cosine_kernel(64))
  np.testing.assert_allclose(jnp.concatenate(parts, -1), expected, atol=1e-5)


def test_mean_and_deviation_of_valid_frames():
  x = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
  mask = jnp.asarray(np.arange(7)[None] < [[7], [4]], jnp.float32)
  expected = np.concatenate([x[1, :4].mean(0), x[1, :4].std(0)])
  np.testing.assert_allclose(lib._mean_and_deviation(x, mask)[1], expected, atol=1e-4)


def test_statistics_cover_the_valid_frames_only():
  rng = np.random.default_rng(0)
  cepstra = rng.normal(size=(2, 50, 64)).astype(np.float32)
  mask = (np.arange(50)[None] < np.array([[50], [33]])).astype(np.float32)
  parts = np.split(cepstra, [kernels.CEPSTRA], -1)
  out = np.asarray(lib.cepstral_statistics(*map(jnp.asarray, parts), jnp.asarray(mask)))
  valid = cepstra[1, :33]
  count, groups = kernels.CORRELATED, (64 - kernels.CEPSTRA) // 4
  np.testing.assert_allclose(out[1, :30], valid[:, :30].mean(0), atol=1e-5)
  np.testing.assert_allclose(out[1, 30:60], valid[:, :30].std(0), atol=1e-4)
  centered, deviation = valid[:, :count] - valid[:, :count].mean(0), valid[:, :count].std(0) + 0.05
  expected = (centered.T @ centered / 33 / deviation / deviation[:, None])[
    np.triu_indices(count, 1)
  ]
  np.testing.assert_allclose(out[1, 60 + 2 * groups + count :], expected, atol=1e-4)
  skewness = (centered**3).mean(0) / deviation**3
  np.testing.assert_allclose(out[1, 60 + 2 * groups : 60 + 2 * groups + count], skewness, atol=1e-4)


@pytest.mark.parametrize("frames", [24, 26, 36, 96])
def test_the_power_of_waves_is_that_of_numpys_correlation(frames):
  rng = np.random.default_rng(0)
  level = rng.normal(size=(2, frames, 128)).astype(np.float32)
  valid = np.array([frames, (frames + 24) // 2])
  kernel = kernels.wave_kernel(kernels.RATES, frames, False)
  mask = (np.arange(frames)[None] < valid[:, None]).astype(np.float32)
  out = lib.modulations(jnp.asarray(level), jnp.asarray(mask), kernel)
  groups = level.reshape(2, frames, kernels.GROUPS, -1).mean(3)
  expected = [
    [
      np.log(sum((np.correlate(column, kernel[:, 2 * i + j]) ** 2).mean() for j in (0, 1)) + 1e-4)
      for column in x[:count].T
      for i in range(len(kernels.RATES))
    ]
    for x, count in zip(groups, valid, strict=True)
  ]
  np.testing.assert_allclose(out, expected, atol=1e-4)


@pytest.mark.parametrize("number", [3, 5, 8])
def test_modulation_power_is_at_the_rate_of_the_signal(number):
  """A level that oscillates at one of RATES has its power there, in every group of bands."""
  time = np.arange(96)
  level = np.sin(2 * np.pi * kernels.RATES[number] * time)[None, :, None] * np.ones((1, 1, 128))
  kernel = kernels.wave_kernel(kernels.RATES, 96, False)
  power = lib.modulations(jnp.asarray(level, jnp.float32), jnp.ones((1, 96)), kernel)
  power = np.asarray(power).reshape(kernels.GROUPS, len(kernels.RATES))
  assert (power.argmax(1) == number).all()


def test_a_constant_level_has_no_modulation():
  level = jnp.full((1, 40, 128), 3.7)
  for square in (False, True):
    kernel = kernels.wave_kernel(kernels.RATES, 40, square)
    assert float(jnp.ptp(lib.modulations(level, jnp.ones((1, 40)), kernel))) < 1e-2
