"""Test the properties of every registered network, and its number of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.errors import UserError
from genre_jax.models.registry import MODELS, build_model, count_parameters
from tests.models.conftest import random_variables

# ((frames, mels, classes), parameters). A change here is a change of the network.
PARAMETERS = {
  "published_baseline": ((80, 80, 4), 84_382),
  "published_tf_split": ((80, 80, 4), 8_480_510),
  "baseline": ((64, 128, 4), 98_420),
  "axis_features": ((64, 128, 4), 168_544),
  "axis_features_time": ((64, 128, 4), 171_572),
  "axis_features_frequency": ((64, 128, 4), 171_276),
  "axis_features_2d": ((64, 128, 4), 168_544),
  "split_cnn": ((64, 128, 4), 185_424),
  "square_cnn": ((64, 128, 4), 185_450),
  "split_cnn_musicnn": ((64, 128, 4), 1_006_083),
  "axis_features_student": ((64, 128, 4), 523_616),
  "musicnn": ((187, 96, 50), 787_159),
  "yamnet": ((96, 64, 521), 3_729_481),
  "musicnn_yamnet": ((300, 160, 41), 4_595_524),
}


def _slow_except(quick, names):
  """Return the names as parameters of tests, those not in `quick` marked slow."""
  return [
    pytest.param(name, marks=() if name in quick else pytest.mark.slow, id=name) for name in names
  ]


def _init(name, frames, mels, classes):
  model = build_model({"name": name}, classes)
  shape = jax.ShapeDtypeStruct((2, frames, mels, 1), jnp.float32)
  return model, jax.eval_shape(model.init, jax.random.key(0), shape)


def test_every_registered_network_has_a_row_in_the_table():
  assert PARAMETERS.keys() == MODELS.keys()


@pytest.mark.parametrize("name", PARAMETERS)
def test_number_of_parameters(name):
  shape, expected = PARAMETERS[name]
  _, variables = _init(name, *shape)
  assert count_parameters(variables["params"]) == expected


@pytest.fixture(
  scope="module",
  params=_slow_except(
    ("baseline", "axis_features", "split_cnn"),
    # musicnn_yamnet takes a waveform and has tests of its own.
    [n for n in MODELS if n not in ("published_tf_split", "musicnn_yamnet")],
  ),
)
def network(request):
  """Return (name, compiled apply(x, mask), two segments) of a network with random weights."""
  frames, mels, classes = PARAMETERS[request.param][0]
  model = build_model({"name": request.param}, classes)
  x = 20 * jax.random.normal(jax.random.key(1), (2, frames, mels, 1)) - 40
  variables = random_variables(model, x)
  # The mask is an argument: all masks have one compiled program.
  return request.param, jax.jit(lambda x, mask=None: model.apply(variables, x, mask)), x


def test_logits_are_float32_and_ignore_a_gain(network):
  name, apply, x = network
  logits = apply(x)
  assert logits.shape == (2, PARAMETERS[name][0][2]) and logits.dtype == jnp.float32
  if name not in ("musicnn", "yamnet"):  # which use the level
    np.testing.assert_allclose(apply(x + 12.5), logits, atol=2e-3)


@pytest.mark.slow
def test_published_tf_split_runs_forward_and_backward():
  """The segment and the layers are small, because the network is large."""
  model = build_model({"name": "published_tf_split", "channels": (4, 6)}, 4)
  x = jax.random.normal(jax.random.key(1), (2, 20, 16, 1))
  variables = random_variables(model, x)

  def loss(params):
    return jnp.square(
      model.apply({"params": params}, x, train=True, rngs={"dropout": jax.random.key(2)})
    ).mean()

  value, grads = jax.jit(jax.value_and_grad(loss))(variables["params"])
  assert np.isfinite(value)
  assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(grads))


@pytest.mark.slow
def test_the_content_of_padding_changes_no_logit(network):
  _, apply, x = network
  frames = x.shape[1]
  mask = jnp.arange(frames)[None] < jnp.array([[40], [frames]])
  other = jnp.where(mask[..., None, None], x, 99.0)
  np.testing.assert_allclose(apply(x, mask), apply(other, mask), atol=1e-5)


def test_short_tracks_get_logits_that_depend_on_them(network):
  """The tracks are shorter than the segment and than the field of one output of the network."""
  _, apply, x = network
  for frames in (3, 12, 26):
    mask = jnp.full((2, 1), frames) > jnp.arange(x.shape[1])[None]
    logits = apply(jnp.where(mask[..., None, None], x, x.min()), mask)
    # Without normalization a network that is not trained has small logits.
    scale = min(1.0, float(np.abs(logits).max()))
    assert np.isfinite(logits).all(), frames
    assert np.abs(logits[0] - logits[1]).max() > 1e-4 * scale, frames


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"name": "axis_featuress"}, "did you mean axis_features"),
    ({"name": "baseline", "depth": 3}, "baseline has no such size"),
  ],
)
def test_unknown_names_and_sizes_are_refused(fields, message):
  with pytest.raises(UserError, match=message):
    build_model(fields, 4)


def test_unknown_dtype_is_refused():
  with pytest.raises(UserError, match="config.dtype=int8"):
    build_model({"name": "baseline"}, 4, "int8")
  with pytest.raises(UserError, match="JAX_ENABLE_X64"):
    build_model({"name": "baseline"}, 4, "float64")
