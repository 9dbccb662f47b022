"""Test the musicnn network; test_musicnn_weights.py compares it to the original."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.models.musicnn import Musicnn

SMALL = dict(
  timbral_filters=6, temporal_filters=5, temporal_frames=(16, 8), mid_channels=4, hidden=7
)


@pytest.fixture(scope="module")
def small():
  """Return a small network with random weights and random running statistics."""
  model = Musicnn(num_classes=3, **SMALL)
  shapes = jax.eval_shape(model.init, jax.random.key(1), jnp.zeros((1, 20, 96, 1)))
  numbers = np.random.default_rng(1)
  return model, jax.tree.map(
    lambda x: jnp.asarray(
      numbers.normal(0, 0.1, x.shape) if x.ndim > 1 else numbers.uniform(0.5, 1, x.shape),
      jnp.float32,
    ),
    {name: shapes[name] for name in ("params", "batch_stats")},
  )


def _apply(model, variables, *args):
  return jax.jit(model.apply)(variables, *args)


def _input(rng, batch=2, frames=30):
  return 3 * jax.random.uniform(rng, (batch, frames, 96, 1))


def test_published_sizes():
  shapes = jax.eval_shape(
    Musicnn(num_classes=50).init,
    jax.random.key(0),
    jax.ShapeDtypeStruct((1, 187, 96, 1), jnp.float32),
  )
  params = shapes["params"]
  assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 787_159
  assert params["timbral_0"]["kernel"].shape == (7, 38, 1, 204)
  assert params["timbral_1"]["kernel"].shape == (7, 67, 1, 204)
  assert [params[f"temporal_{i}"]["kernel"].shape for i in range(3)] == [
    (128, 1, 1, 51),
    (64, 1, 1, 51),
    (32, 1, 1, 51),
  ]
  assert [params[f"mid_{i}"]["kernel"].shape for i in range(3)] == [
    (7, 561, 64),
    (7, 64, 64),
    (7, 64, 64),
  ]
  assert params["hidden"]["kernel"].shape == (2 * (561 + 3 * 64), 200)


def test_logits_and_intermediates(small, rng):
  model, variables = small
  logits, state = jax.jit(model.apply, static_argnames="mutable")(
    variables, _input(rng), mutable="intermediates"
  )
  assert logits.shape == (2, 3) and logits.dtype == jnp.float32
  assert state["intermediates"]["embedding"][0].shape == (2, 7)
  assert state["intermediates"]["pooled"][0].shape == (2, 2 * 6 + 2 * 5 + 3 * 4, 2)


@pytest.mark.parametrize("valid", [1, 20])
def test_masked_window_equals_its_valid_frames(small, rng, valid):
  model, variables = small
  x = _input(rng)
  masked = _apply(model, variables, x, jnp.arange(30)[None].repeat(2, 0) < valid)
  alone = _apply(model, variables, x[:, :valid])
  np.testing.assert_allclose(masked, alone, rtol=1e-4, atol=1e-4)


def test_the_content_of_padding_is_ignored(small, rng):
  model, variables = small
  x, mask = _input(rng), jnp.arange(30)[None].repeat(2, 0) < 20

  @jax.jit
  def outputs(x):
    logits, state = model.apply(
      variables, x, mask, train=True, mutable="batch_stats", rngs={"dropout": rng}
    )
    return jax.tree.leaves((logits, state["batch_stats"]))

  for one, other in zip(outputs(x), outputs(x.at[:, 20:].set(99.0)), strict=True):
    np.testing.assert_array_equal(one, other)


def test_window_without_frames_is_finite(small, rng):
  model, variables = small
  assert jnp.isfinite(_apply(model, variables, _input(rng), jnp.zeros((2, 30), bool))).all()


@pytest.mark.slow
def test_training_gradients_are_finite_and_reach_every_layer(small, rng):
  model, variables = small
  x = _input(rng, batch=4)

  def loss(params):
    logits, _ = model.apply(
      {**variables, "params": params}, x, train=True, mutable="batch_stats", rngs={"dropout": rng}
    )
    return jnp.square(logits - 1).sum()

  gradients = jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(variables["params"]))
  for path, gradient in gradients:
    assert jnp.isfinite(gradient).all(), path
    if path[-1].key == "kernel":
      assert jnp.abs(gradient).max() > 0, path


def test_bfloat16_is_close(small, rng):
  _, variables = small
  half = Musicnn(num_classes=3, dtype=jnp.bfloat16, **SMALL)
  whole = Musicnn(num_classes=3, **SMALL)
  logits = _apply(half, variables, _input(rng))
  assert logits.dtype == jnp.float32
  expected = _apply(whole, variables, _input(rng))
  np.testing.assert_allclose(logits, expected, atol=0.02 * float(jnp.abs(expected).max()))


def test_inference_leaves_out_filters_without_effect(small, rng):
  model, variables = small
  params = dict(variables["params"])
  for name, kept in (("timbral_0", 2), ("temporal_1", 1), ("mid_0", 3)):
    kernel = params[name]["kernel"]
    params[name] = {**params[name], "kernel": kernel.at[..., kept:].multiply(1e-12)}
    norm = f"{name}_norm"  # of which some fall
    params[norm] = {**params[norm], "scale": params[norm]["scale"].at[::2].multiply(-1)}
  variables = {**variables, "params": params}
  pruned = model.for_inference(params)
  used = dict(pruned.used_filters)
  assert (used["temporal_1"], used["mid_0"]) == ((0,), (0, 1, 2))
  assert "temporal_0" not in used  # all of its filters have an effect
  log_mel = _input(rng)
  mask = jnp.arange(30)[None] < jnp.array([[30], [21]])
  np.testing.assert_allclose(
    _apply(pruned, variables, log_mel, mask), _apply(model, variables, log_mel, mask), atol=2e-5
  )
