"""What `learnt_split` promises: a level is not heard, padding is not heard, time is not padded."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.models.layers import BatchNorm, Conv, center_frames, masked_statistics, pool_axis
from genre_jax.models.learnt_split import LearntSplit, LearntSquare

FRAMES = 52
ALL = (LearntSplit, LearntSquare)


@pytest.fixture(scope="module")
def log_mel():
  """float32[3, FRAMES, 128, 1], dB."""
  return jax.random.uniform(jax.random.key(1), (3, FRAMES, 128, 1), minval=-80.0, maxval=0.0)


@pytest.fixture(scope="module", params=ALL, ids=lambda kind: kind.__name__)
def network(request, log_mel):
  """(module, variables, compiled apply) of each network, running statistics away from 0 and 1."""
  model = request.param(num_classes=4)
  variables = jax.jit(model.init)(jax.random.key(0), log_mel)
  stats = jax.tree.map(lambda x: x + 0.1 * jnp.arange(x.size).reshape(x.shape) / x.size,
                       variables["batch_stats"])
  variables = {"params": variables["params"], "batch_stats": stats}
  return model, variables, jax.jit(model.apply)


def _parameters(model):
  shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, FRAMES, 128, 1)))
  return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def _flops(model):
  x = jnp.zeros((1, 128, 128, 1))
  variables = jax.eval_shape(model.init, jax.random.key(0), x)
  return jax.jit(model.apply).lower(variables, x).cost_analysis()["flops"]


def test_a_gain_changes_no_logit(network, log_mel):
  _, variables, apply = network
  logits = apply(variables, log_mel)
  assert float(jnp.abs(logits).max()) > 0.01
  for gain in (-37.5, 12.0):
    np.testing.assert_allclose(apply(variables, log_mel + gain), logits, atol=2e-4)


def test_padded_frames_change_no_logit(network, log_mel):
  _, variables, apply = network
  mask = jnp.arange(FRAMES)[None] < jnp.array([FRAMES, 40, 31])[:, None]
  noise = jax.random.normal(jax.random.key(2), log_mel.shape) * 30.0
  other = jnp.where(mask[:, :, None, None], log_mel, noise)
  np.testing.assert_allclose(apply(variables, other, mask), apply(variables, log_mel, mask),
                             atol=1e-6)
  # An even number of frames: with pooling in pairs the window without padding is the same.
  np.testing.assert_allclose(apply(variables, other, mask)[1:2],
                             apply(variables, log_mel[1:2, :40]), atol=1e-5)


def test_time_is_not_padded(network, log_mel):
  """Equal frames give equal vectors everywhere: a padded edge would differ."""
  _, variables, _ = network
  model = type(network[0])(num_classes=4, statistics=("mean", "max", "std"))
  steady = jnp.tile(log_mel[:, :1], (1, FRAMES, 1, 1))
  _, state = model.apply(variables, steady, capture_intermediates=True, mutable=["intermediates"])
  for name, layer in state["intermediates"].items():
    if name in ("embedding", "embedding_norm", "logits", "__call__"):
      continue
    out = layer["__call__"][0]
    if out.ndim == 4 or out.ndim == 3:
      np.testing.assert_allclose(out, jnp.broadcast_to(out[:, :1], out.shape), atol=1e-4,
                                 err_msg=name)


def test_a_short_window_is_enough(network, log_mel):
  _, variables, apply = network
  assert bool(jnp.isfinite(apply(variables, log_mel[:, :26])).all())


def test_no_valid_frame_gives_finite_logits_and_gradients(network, log_mel):
  model, variables, _ = network

  def loss(params):
    return model.apply({**variables, "params": params}, jnp.full_like(log_mel, -80.0),
                       jnp.zeros(log_mel.shape[:2], bool)).sum()

  value, grads = jax.jit(jax.value_and_grad(loss))(variables["params"])
  assert bool(jnp.isfinite(value))
  assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(grads))


def test_eager_equals_compiled(network, log_mel):
  model, variables, apply = network
  np.testing.assert_allclose(model.apply(variables, log_mel), apply(variables, log_mel), atol=1e-5)


def test_square_control_costs_as_much():
  split, square = LearntSplit(num_classes=10), LearntSquare(num_classes=10)
  assert _parameters(square) == _parameters(split) <= 250_000
  assert abs(_flops(square) / _flops(split) - 1) <= 0.1


def test_branches_have_kernels_along_one_axis():
  shapes = jax.eval_shape(LearntSplit(num_classes=4).init, jax.random.key(0),
                          jnp.zeros((1, FRAMES, 128, 1)))["params"]
  for name, layer in shapes.items():
    if name.startswith(("frequency_", "time_")) and name.split("_")[1].isdigit():
      frames, bands = layer["kernel"].shape[:2]
      assert frames == 1 if name.startswith("frequency") else bands == 1, name


def test_frames_have_no_level_of_their_own(log_mel):
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


def test_batch_norm_equals_flax():
  x = 3.0 + 2.0 * jax.random.normal(jax.random.key(0), (8, 9, 5))
  target = jax.random.normal(jax.random.key(1), x.shape)
  results = []
  for module in (BatchNorm(False, momentum=0.9),
                 nn.BatchNorm(use_running_average=False, momentum=0.9)):
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
    out[1], jnp.concatenate([x[1, :4].mean(0), x[1, :4].std(0), x[1, :4].max(0)]), atol=1e-4)
  with pytest.raises(ValueError, match="median"):
    masked_statistics(x, mask, ("median",))


def test_pooling_drops_the_remainder():
  x = jnp.arange(14.0).reshape(1, 7, 2)
  np.testing.assert_array_equal(pool_axis(x, 3, 1), [[[4.0, 5.0], [10.0, 11.0]]])
  np.testing.assert_array_equal(pool_axis(x, 3, 1, "mean"), [[[2.0, 3.0], [8.0, 9.0]]])
