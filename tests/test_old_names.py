"""Test that model directories, checkpoints and runs of earlier versions are read."""

import copy
import hashlib
import json

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from genre_jax.data.frontend import FrontendConfig
from genre_jax.errors import UserError
from genre_jax.evaluation.run_predictions import read_config_file
from genre_jax.inference import load, model_dir
from genre_jax.models.axis_features import AxisFeatures
from genre_jax.models.registry import MODELS
from genre_jax.old_names import ADDED_FIELDS, KEYS, MODEL_DIRECTORIES, REMOVED_FIELDS, modernize
from genre_jax.old_names import MODELS as OLD_MODELS
from genre_jax.training import checkpoints, workdir
from genre_jax.training.steps import TrainState

SIZES = {"axes": ["frequency"], "hidden": 4}
CLASSES = ["high", "low"]
FRONTEND = FrontendConfig(n_mels=32, num_frames=8)


@pytest.fixture(scope="module")
def variables():
  """Weights of a small `axis_features`, none of them 0."""
  network = AxisFeatures(num_classes=2, axes=("frequency",), hidden=4)
  sample = jnp.zeros((1, FRONTEND.num_frames, FRONTEND.n_mels, 1))
  initial = jax.jit(network.init)(jax.random.key(0), sample)
  return jax.tree.map(
    lambda x: x + 0.1 * jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), initial
  )


def _description(key):
  """Return the part that model.json and a checkpoint's metadata share, in old or current names."""
  return {
    "model": {"name": key["axis_features"], **SIZES},
    key["frontend"]: FRONTEND.to_dict(),
    "classes": CLASSES,
    "task": "single_label",
    key["normalization"]: "frame",
    "eval_per_track": 2,
  }


NEW = {name: name for name in (*KEYS.values(), *OLD_MODELS.values())}
OLD = {new: old for old, new in (*KEYS.items(), *OLD_MODELS.items())}


def test_tables_lead_to_names_that_exist():
  assert set(OLD_MODELS.values()) <= set(MODELS) and not set(OLD_MODELS) & set(MODELS)
  assert all((model_dir.PACKAGED / name).is_dir() for name in MODEL_DIRECTORIES.values())


def test_old_names_are_replaced_at_every_depth_and_nothing_else_is():
  old = {
    **_description(OLD),
    "provenance": {"material": "set-1", "licence": "CC0", "source": "tf_split"},
    "thresholds": {"material": 0.4, "recipe": 0.6},  # names of classes
  }
  before = copy.deepcopy(old)
  assert modernize(old) == {
    **_description(NEW),
    "provenance": {"dataset_id": "set-1", "license": "CC0", "source": "tf_split"},
    "thresholds": {"material": 0.4, "recipe": 0.6},
  }
  assert old == before
  assert modernize(modernize(old)) == modernize(old)


def test_removed_fields_are_dropped_where_they_had_no_effect():
  removed = REMOVED_FIELDS["augment"]
  augment = {"mixup_alpha": 0.4, **removed, "gain_db": 6.0}
  expected = {**ADDED_FIELDS["augment"], "mixup_alpha": 0.4, "gain_db": 6.0}
  assert modernize({"augment": augment}) == {"augment": expected}


def _write_model(folder, description, variables):
  folder.mkdir()
  np.savez(folder / "weights.npz", **flatten_dict(variables, sep="/"))
  digest = hashlib.sha256((folder / "weights.npz").read_bytes()).hexdigest()
  model = {"format_version": 1, **description, "name": folder.name, "temperature": 1.0}
  model["weights_sha256"] = digest
  (folder / "model.json").write_text(json.dumps(model))


@pytest.mark.slow
def test_an_old_model_directory_predicts_as_one_with_current_names(tmp_path, variables, rng):
  log_mel = np.asarray(jax.random.uniform(rng, (2, 8, 32), minval=-80.0, maxval=0.0))
  logits = []
  for name, keys in (("old", OLD), ("new", NEW)):
    description = {
      **_description(keys),
      "provenance": {"source": "s", keys["dataset_id"]: "set-1", keys["license"]: "CC0"},
    }
    _write_model(tmp_path / name, description, variables)
    model = load(str(tmp_path / name))
    assert type(model.network) is AxisFeatures and model.frontend == FRONTEND
    assert model.provenance["license"] == "CC0" and model.provenance["dataset_id"] == "set-1"
    logits.append(model.logits(log_mel, np.full(2, 8)))
  assert np.abs(logits[0]).max() > 0
  np.testing.assert_array_equal(*logits)


def test_an_old_checkpoint_is_read(tmp_path, variables):
  old = {**_description(OLD), "source": "s", "material": "set-1", "split": {"name": "x"}, "seed": 3}
  state = TrainState(
    jnp.asarray(5, jnp.int32), variables["params"], variables["batch_stats"], (), {}
  )
  checkpointer = checkpoints.Checkpointer(tmp_path / "checkpoints", "last")
  checkpointer.save(state, None, old)
  checkpointer.close()
  metadata = checkpoints.metadata(checkpoints.locate(str(tmp_path)))
  assert metadata == {
    **_description(NEW),
    **{"source": "s", "dataset_id": "set-1", "split": {"name": "x"}, "seed": 3},
  }
  model = load(str(tmp_path))
  assert type(model.network) is AxisFeatures and model.frontend == FRONTEND
  assert model.classes == tuple(CLASSES)


def _config(**augment):
  return {
    "seed": 0,
    "model": {"name": "axis_features", **SIZES},
    "frontend": FRONTEND.to_dict(),
    "augment": {"mixup_alpha": 0.4, **augment},
  }


def _old_config(**augment):
  config = _config(**augment)
  config["recipe"] = config.pop("frontend")
  config["model"]["name"] = "tf_split"
  return {"config": config, "material": "set-1", "commit": "unknown"}


def test_an_old_run_is_read_and_resumed(tmp_path):
  removed = REMOVED_FIELDS["augment"]
  (tmp_path / "config.json").write_text(json.dumps(_old_config(**removed)))
  stored = read_config_file(tmp_path)
  now = _config(**ADDED_FIELDS["augment"])
  assert stored == {"config": now, "dataset_id": "set-1", "commit": "unknown"}
  workdir.claim_workdir(tmp_path, ml_collections.ConfigDict(now), "set-1")
  with pytest.raises(UserError, match="prepared tracks: set-1 before, set-2 now"):
    workdir.claim_workdir(tmp_path, ml_collections.ConfigDict(now), "set-2")
  with pytest.raises(UserError, match="low_pass_db: 0.0 before, 6.0 now"):
    other = {**ADDED_FIELDS["augment"], "low_pass_db": 6.0}
    workdir.claim_workdir(tmp_path, ml_collections.ConfigDict(_config(**other)), "set-1")


def test_an_old_run_that_used_a_removed_field_is_not_resumed(tmp_path):
  removed = {**REMOVED_FIELDS["augment"], "noise_db": 1.0}
  (tmp_path / "config.json").write_text(json.dumps(_old_config(**removed)))
  with pytest.raises(UserError, match="config.augment.noise_db: 1.0 before, None now"):
    workdir.claim_workdir(tmp_path, ml_collections.ConfigDict(_config()), "set-1")
