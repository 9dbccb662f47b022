"""Test that a training can start from a packaged model, a fetched one and a model directory."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from genre_jax.data.frontend import FrontendConfig
from genre_jax.errors import UserError
from genre_jax.inference import model_dir
from genre_jax.models.axis_features import AxisFeatures
from genre_jax.training.init_from import init_from
from genre_jax.training.steps import create_state

FRONTEND = FrontendConfig(n_mels=32, num_frames=8)
TX = optax.sgd(0.1)


def _metadata(classes, frontend=FRONTEND):
  model = {"name": "axis_features", "axes": ["frequency"], "hidden": 4}
  return {"model": model, "frontend": frontend.to_dict(), "classes": classes}


@pytest.fixture(scope="module")
def state():
  network = AxisFeatures(num_classes=2, axes=("frequency",), hidden=4)
  sample = jnp.zeros((1, FRONTEND.num_frames, FRONTEND.n_mels, 1))
  return create_state(network, TX, sample, 0, ema=True)


@pytest.fixture
def weights(state, tmp_path, monkeypatch):
  """Write a model 'given' to the cache of fetched models and return its weights."""
  variables = {"params": state.params, "batch_stats": state.batch_stats}
  variables = jax.tree.map(lambda x: np.asarray(x) + 1, variables)
  flat = flatten_dict(variables, sep="/")
  (tmp_path / "genre_jax" / "models").mkdir(parents=True)
  model_dir.write_model(
    tmp_path / "genre_jax" / "models" / "given", _metadata(["calm", "loud"]), flat
  )
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  return variables


@pytest.mark.parametrize("by_name", [True, False])
def test_a_fetched_model_and_a_model_directory_give_their_weights(
  state, weights, tmp_path, by_name
):
  path = "given" if by_name else str(tmp_path / "genre_jax" / "models" / "given")
  started = init_from(state, path, _metadata(["calm", "loud"]), TX)
  jax.tree.map(np.testing.assert_array_equal, started.ema, weights)
  own = init_from(state, path, _metadata(["a", "b"]), TX).params
  np.testing.assert_array_equal(
    own["logits_hidden"]["kernel"], state.params["logits_hidden"]["kernel"]
  )
  np.testing.assert_array_equal(own["hidden"]["kernel"], weights["params"]["hidden"]["kernel"])


def test_a_network_gives_its_weights_to_one_that_contains_it(state, tmp_path, monkeypatch):
  monkeypatch.setattr(AxisFeatures, "backbone", "musicnn", raising=False)
  metadata = {"model": {"name": "musicnn"}, "frontend": {}, "classes": ["loud"]}
  model_dir.write_model(tmp_path / "m", metadata, {"params/dense/kernel": np.ones((2, 3))})
  inside = {"musicnn": {"dense": {"kernel": jnp.zeros((2, 3))}}}
  whole = state.replace(params={**state.params, **inside})
  started = init_from(whole, str(tmp_path / "m"), _metadata(["calm", "loud"]), TX)
  np.testing.assert_array_equal(started.params["musicnn"]["dense"]["kernel"], np.ones((2, 3)))
  jax.tree.map(np.testing.assert_array_equal, started.params["hidden"], state.params["hidden"])


def test_a_packaged_model_gives_its_weights(capsys):
  metadata, variables = model_dir.read_model(model_dir.PACKAGED / "axis_features_10")
  frontend = FrontendConfig.from_dict(metadata["frontend"])
  sample = jnp.zeros((1, frontend.num_frames, frontend.n_mels, 1))
  new = create_state(AxisFeatures(num_classes=10), TX, sample, 0)
  started = init_from(new, "axis_features_10", metadata, TX)
  jax.tree.map(np.testing.assert_array_equal, started.params, variables["params"])
  assert "new: none" in capsys.readouterr().out


def test_a_damaged_model_directory_is_refused(state, weights, tmp_path):
  (tmp_path / "genre_jax" / "models" / "given" / "weights.npz").write_bytes(b"PK")
  with pytest.raises(UserError, match="weights.npz is damaged"):
    init_from(state, "given", _metadata(["calm", "loud"]), TX)
