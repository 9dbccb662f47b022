"""Test that level and padding change no logit of `split_cnn`, and that it does not pad time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.models.split_cnn import SplitCnn, SquareCnn

FRAMES = 52  # of log_mel
ALL = (SplitCnn, pytest.param(SquareCnn, marks=pytest.mark.slow))


@pytest.fixture(scope="module", params=ALL, ids=lambda kind: kind.__name__)
def network(request, log_mel):
  """Return (module, variables, compiled apply) of each network; no running statistic is 0 or 1."""
  model = request.param(num_classes=4)
  variables = jax.jit(model.init)(jax.random.key(0), log_mel)
  stats = jax.tree.map(
    lambda x: x + 0.1 * jnp.arange(x.size, dtype=x.dtype).reshape(x.shape) / x.size,
    variables["batch_stats"],
  )
  variables = {"params": variables["params"], "batch_stats": stats}
  return model, variables, jax.jit(model.apply)


def test_a_gain_changes_no_logit(network, assert_gain_invariant):
  _, variables, apply = network
  assert_gain_invariant(variables, apply, atol=2e-4)


def test_padded_frames_change_no_logit(network, log_mel):
  _, variables, apply = network
  mask = jnp.arange(FRAMES)[None] < jnp.array([FRAMES, 40, 31])[:, None]
  noise = jax.random.normal(jax.random.key(2), log_mel.shape) * 30.0
  other = jnp.where(mask[:, :, None, None], log_mel, noise)
  np.testing.assert_allclose(
    apply(variables, other, mask), apply(variables, log_mel, mask), atol=1e-6
  )
  # With an even number of frames, pooling in pairs gives the same as for the segment alone.
  np.testing.assert_allclose(
    apply(variables, other, mask)[1:2], apply(variables, log_mel[1:2, :40]), atol=1e-5
  )


def test_time_is_not_padded(network, log_mel):
  """Equal frames give equal vectors everywhere; padding would make the edges differ."""
  model, variables, _ = network
  steady = jnp.tile(log_mel[:, :1], (1, FRAMES, 1, 1))
  apply = functools.partial(model.apply, capture_intermediates=True, mutable=["intermediates"])
  _, state = jax.jit(apply)(variables, steady)
  for name, layer in state["intermediates"].items():
    if name in ("embedding", "embedding_norm", "logits", "__call__"):
      continue
    out = layer["__call__"][0]
    if out.ndim == 4 or out.ndim == 3:
      np.testing.assert_allclose(
        out, jnp.broadcast_to(out[:, :1], out.shape), atol=1e-4, err_msg=name
      )


def test_no_valid_frame_gives_finite_logits_and_gradients(network, log_mel):
  model, variables, _ = network

  def loss(params):
    return model.apply(
      {**variables, "params": params},
      jnp.full_like(log_mel, -80.0),
      jnp.zeros(log_mel.shape[:2], bool),
    ).sum()

  value, grads = jax.jit(jax.value_and_grad(loss))(variables["params"])
  assert bool(jnp.isfinite(value))
  assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(grads))


def test_eager_equals_compiled(network, log_mel):
  model, variables, apply = network
  np.testing.assert_allclose(model.apply(variables, log_mel), apply(variables, log_mel), atol=1e-5)


def test_the_square_control_has_the_same_cost(parameters, flops):
  split, square = SplitCnn(num_classes=10), SquareCnn(num_classes=10)
  assert parameters(square) == parameters(split) <= 250_000
  assert abs(flops(square, 96) / flops(split, 96) - 1) <= 0.1


def test_branches_have_kernels_along_one_axis():
  shapes = jax.eval_shape(
    SplitCnn(num_classes=4).init, jax.random.key(0), jnp.zeros((1, FRAMES, 128, 1))
  )["params"]
  for name, layer in shapes.items():
    if name.startswith(("frequency_", "time_")) and name.split("_")[1].isdigit():
      frames, bands = layer["kernel"].shape[:2]
      assert frames == 1 if name.startswith("frequency") else bands == 1, name
