"""Test that every experiment takes a step and that training learns the synthetic corpus."""

import importlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.data.frontend import FrontendConfig
from genre_jax.models.registry import build_model
from genre_jax.studies.run import train_and_evaluate
from genre_jax.training import steps
from genre_jax.training.config_checks import check_config
from genre_jax.training.optimizer import make_optimizer

pytestmark = pytest.mark.slow

EXPERIMENTS = sorted(
  path.stem for path in pathlib.Path("experiments").glob("*.py") if path.stem != "__init__"
)


# One experiment per family runs a step; the step of the others is only traced.
RUN = {"axis_features", "mixtures", "leaky_published_baseline"}


def _step(config, run=True, classes=4):
  """Take a training step and check that weights change; without `run` only trace it."""
  check_config(config)
  frontend = FrontendConfig.from_dict(config.frontend.to_dict())
  model = build_model(config.model.to_dict(), classes, config.dtype)
  tx = make_optimizer(config.optimizer, 10)
  rng = np.random.default_rng(0)
  batch = {
    "log_mel": rng.normal(-40, 15, (2, frontend.num_frames, frontend.n_mels, 1)).astype(np.float32),
    "num_frames": np.full(2, frontend.num_frames, np.int32),
    "labels": np.eye(classes, dtype=np.float32)[:2],
    "label_mask": np.ones((2, classes), np.float32),
    "mask": np.ones(2, bool),
  }
  state = steps.create_state(
    model, tx, jnp.asarray(batch["log_mel"][:1]), config.seed, ema=config.train.ema_decay > 0
  )
  step = steps.make_train_step(model, tx, config)
  if not run:
    after, _ = jax.eval_shape(step, state, batch)
    jax.tree.map(
      lambda a, b: np.testing.assert_equal((a.shape, a.dtype), (b.shape, b.dtype)),
      after.params,
      state.params,
    )
    return
  before = jax.tree.map(np.array, state.params)
  state, metrics = step(state, batch)
  assert int(state.step) == 1 and np.isfinite(metrics["loss"])
  changed = jax.tree.map(lambda a, b: bool((np.array(a) != b).any()), state.params, before)
  assert any(jax.tree.leaves(changed))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_takes_a_step(name):
  _step(importlib.import_module(f"genre_jax.experiments.{name}").get_config(), name in RUN)


@pytest.mark.parametrize("name", ["baseline", "axis_features"])
def test_bfloat16(name):
  config = importlib.import_module(f"genre_jax.experiments.{name}").get_config()
  config.dtype = "bfloat16"
  _step(config)


def test_training_learns_the_synthetic_corpus(tmp_path, monkeypatch):
  """Check for more than 95 % accuracy on new tracks; one axis alone gives about half."""
  config = importlib.import_module("genre_jax.experiments.synthetic").get_config("axis_features")
  config.train.report = False
  config.train.epochs = 6
  monkeypatch.chdir(tmp_path)
  reports = train_and_evaluate(config, "run")
  correct = sum(np.trace(reports[split]["track"]["confusion"]) for split in ("validation", "test"))
  assert correct / sum(reports[split]["track"]["n"] for split in ("validation", "test")) > 0.95
