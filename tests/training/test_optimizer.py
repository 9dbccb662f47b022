"""Test learning-rate schedules and weight decay against values computed by hand."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from genre_jax.errors import UserError
from genre_jax.training import optimizer


@pytest.fixture(autouse=True)
def _standard_promotion():
  """Optax combines its integer step with Python floats, which strict promotion refuses."""
  with jax.numpy_dtype_promotion("standard"):
    yield


def _config(**changes):
  return ml_collections.ConfigDict(
    {
      "name": "sgd",
      "learning_rate": 0.1,
      "schedule": "cosine",
      "warmup_fraction": 0.1,
      "weight_decay": 0.0,
      "weight_decay_on": "kernel$",
      "momentum": 0.0,
      "clip_norm": 0.0,
      **changes,
    }
  )


def test_cosine_rises_then_falls_to_zero():
  schedule = optimizer.learning_rate_schedule(_config(), 100)
  assert schedule(0) == pytest.approx(0.01)
  assert schedule(10) == pytest.approx(0.1)
  assert schedule(55) == pytest.approx(0.05)
  assert schedule(100) == pytest.approx(0.0, abs=1e-9)


def test_constant_without_warmup():
  schedule = optimizer.learning_rate_schedule(
    _config(schedule="constant", warmup_fraction=0.0), 100
  )
  assert schedule(0) == schedule(99) == 0.1


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_decay_reaches_only_what_matches(name):
  params = {"a": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}}
  tx = optimizer.make_optimizer(_config(name=name, weight_decay=0.1), 10)
  zero = {"a": {"kernel": jnp.zeros(2), "bias": jnp.zeros(2)}}
  updates, _ = tx.update(zero, tx.init(params), params)
  assert (np.array(updates["a"]["kernel"]) < 0).all()
  assert (np.array(updates["a"]["bias"]) == 0).all()


def test_published_penalty_is_the_gradient_of_the_squared_norm():
  params = {"hidden": {"kernel": jnp.array([2.0])}, "logits": {"kernel": jnp.array([2.0])}}
  config = _config(
    schedule="constant", warmup_fraction=0.0, weight_decay=0.02, weight_decay_on="^hidden/kernel$"
  )
  tx = optimizer.make_optimizer(config, 10)
  zero = {"hidden": {"kernel": jnp.zeros(1)}, "logits": {"kernel": jnp.zeros(1)}}
  updates, _ = tx.update(zero, tx.init(params), params)
  assert updates["hidden"]["kernel"][0] == pytest.approx(-0.1 * 2 * 0.01 * 2.0)
  assert updates["logits"]["kernel"][0] == 0


def test_gradients_are_clipped():
  config = _config(schedule="constant", warmup_fraction=0.0, clip_norm=1.0)
  tx = optimizer.make_optimizer(config, 10)
  updates, _ = tx.update(
    {"kernel": jnp.array([30.0, 40.0])}, tx.init({"kernel": jnp.zeros(2)}), {"kernel": jnp.zeros(2)}
  )
  np.testing.assert_allclose(updates["kernel"], [-0.06, -0.08], rtol=1e-6)


@pytest.mark.parametrize("field", ["name", "schedule"])
def test_unknown_names_are_refused(field):
  with pytest.raises(UserError, match=f"config.optimizer.{field}=nonsense"):
    optimizer.make_optimizer(_config(**{field: "nonsense"}), 10)
