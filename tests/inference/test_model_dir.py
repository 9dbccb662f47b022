"""Test model directories: packed from a run, found by name, and refused when damaged."""

import dataclasses
import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from genre_jax.errors import UserError
from genre_jax.inference import load, model_dir
from tests.conftest import ROOT
from tests.inference.conftest import write_small_model


def test_a_model_is_written_and_read(small_model):
  metadata, variables = model_dir.read_model(small_model)
  model = load(str(small_model))
  assert model.name == "small" and model.classes == ("calm", "loud", "odd")
  assert metadata["format_version"] == model_dir.FORMAT_VERSION
  np.testing.assert_array_equal(
    model.variables["params"]["logits_linear"]["bias"], variables["params"]["logits_linear"]["bias"]
  )
  assert load(model) is model


def test_a_model_is_kept_if_it_cannot_be_replaced(tmp_path, monkeypatch):
  weights = {"params/a": np.zeros(1)}
  model_dir.write_model(tmp_path / "m", {"name": "old"}, weights)
  rename = os.rename

  def fail(source, target):
    if str(source).endswith("new"):
      raise OSError(errno.ENOSPC, "No space left on device")
    rename(source, target)

  monkeypatch.setattr(os, "rename", fail)
  with pytest.raises(OSError, match="No space"):
    model_dir.write_model(tmp_path / "m", {"name": "new"}, weights)
  assert model_dir.read_model(tmp_path / "m")[0]["name"] == "old"
  assert os.listdir(tmp_path) == ["m"]


def test_names_are_found_in_the_cache(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  write_small_model(tmp_path / "genre_jax" / "models", "mine")
  assert load("mine").name == "mine"
  with pytest.raises(UserError, match="pretrained fetch musicnn_msd"):
    load("musicnn_msd")
  with pytest.raises(UserError, match="did you mean musicnn_msd"):
    load("musicnn_mds")


@pytest.mark.parametrize("name", ["", "absent/folder", ".", "../x"])
def test_names_that_are_not_models_are_refused(name):
  with pytest.raises(UserError, match="give a name"):
    load(name)


@pytest.mark.parametrize(
  ("damage", "words"),
  [
    (lambda metadata: metadata.pop("frontend"), "frontend"),
    (lambda metadata: metadata.pop("classes"), "classes"),
    (lambda metadata: metadata.update(classes=["a", "b"]), "shape"),
    (lambda metadata: metadata.update(task="ranking"), "ranking"),
    (lambda metadata: metadata.update(temperature=0), "temperature"),
    (lambda metadata: metadata.update(temperature="hot"), "hot"),
    (lambda metadata: metadata.update(thresholds=[0.5]), "thresholds"),
    (lambda metadata: metadata["model"].update(name="perceptron"), "perceptron"),
    (lambda metadata: metadata["frontend"].update(hop_length=0), "hop_length"),
    (lambda metadata: metadata.update(format_version=99), "99"),
    (lambda metadata: metadata.update(model=7), "inconsistent"),
  ],
)
def test_damaged_descriptions(tmp_path, damage, words):
  folder = write_small_model(tmp_path)
  metadata = json.loads((folder / "model.json").read_text())
  damage(metadata)
  (folder / "model.json").write_text(json.dumps(metadata))
  with pytest.raises(UserError, match=words):
    load(str(folder))


@pytest.mark.parametrize("damage", ["truncated", "changed", "absent", "text", "list", "nan"])
def test_damaged_files(tmp_path, damage):
  folder = write_small_model(tmp_path)
  weights = folder / "weights.npz"
  if damage == "truncated":
    weights.write_bytes(weights.read_bytes()[:1000])
  elif damage == "changed":
    weights.write_bytes(weights.read_bytes() + b"x")
  elif damage == "absent":
    weights.unlink()
  elif damage == "nan":
    metadata, variables = model_dir.read_model(folder)
    variables["params"]["logits_linear"]["bias"][0] = np.nan
    folder = folder.with_name("nan")
    model_dir.write_model(folder, metadata, flatten_dict(variables, sep="/"))
  else:
    (folder / "model.json").write_text("no json" if damage == "text" else "[1]")
  with pytest.raises(UserError, match=str(folder)):
    load(str(folder))


def test_tags_have_thresholds(tmp_path):
  model = load(str(write_small_model(tmp_path, task="multi_label", thresholds=[0.2, 0.9, 0.5])))
  assert model.decide_label(np.array([0.3, 0.8, 0.6])) == ("odd;calm", 0.8)
  assert model.decide_label(np.array([0.1, 0.8, 0.2])) == ("unknown", 0.8)
  assert model.decide_label(np.array([0.3, 0.95, 0.6]), 0.5) == ("loud;odd", 0.95)
  probabilities = model.probabilities(np.array([0.0, -1000.0, 3.0], np.float32))
  np.testing.assert_allclose(probabilities, [0.5, 0, 1 / (1 + np.exp(-3))], atol=1e-12)
  np.testing.assert_allclose(model.calibrated(probabilities), probabilities, atol=1e-12)


def test_tags_below_their_thresholds(tmp_path):
  values = {"task": "multi_label", "thresholds": [0.5] * 3, "least": [0.1, 0.1, 0.5]}
  model = load(str(write_small_model(tmp_path, **values)))
  assert model.decide_label(np.array([0.2, 0.3, 0.4])) == ("loud", 0.4)
  assert model.decide_label(np.array([0.2, 0.3, 0.6])) == ("odd", 0.6)
  assert model.decide_label(np.array([0.0, 0.05, 0.4])) == ("unknown", 0.4)
  assert model.decide_label(np.array([0.2, 0.3, 0.4]), 0.35) == ("unknown", 0.4)
  with pytest.raises(UserError, match="2 least for 3 classes"):
    load(str(write_small_model(tmp_path / "b", **values | {"least": [0.1, 0.1]})))


def test_temperature_keeps_the_order(tmp_path):
  model = load(str(write_small_model(tmp_path, temperature=2.0)))
  probabilities = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]])
  softer = model.calibrated(probabilities)
  np.testing.assert_allclose(softer.sum(1), 1)
  np.testing.assert_allclose(softer[0, 0] / softer[0, 1], np.sqrt(3.5))
  assert model.decide_label(softer[0])[0] == "calm"


@pytest.mark.slow
@pytest.mark.parametrize("eval_per_track", [4, 0])
def test_probabilities_do_not_depend_on_the_batch(small_model, eval_per_track):
  """Batches are filled to one size, or a few segments are computed one by one."""
  model = dataclasses.replace(load(str(small_model)), eval_per_track=eval_per_track)
  rng = np.random.default_rng(0)
  segments = rng.normal(-40, 15, (11, 40, 32)).astype(np.float32)
  frames = np.array([40, 40, 12, 40, 33, 40, 40, 21, 40, 40, 17])
  together, embeddings = model.infer(segments, frames)
  assert together.shape == (11, 3) and embeddings.shape == (11, 128)
  for i in range(11):
    alone, embedding = model.infer(segments[i : i + 1], frames[i : i + 1])
    np.testing.assert_allclose(alone[0], together[i], atol=1e-6)
    np.testing.assert_allclose(embedding[0], embeddings[i], atol=1e-4)


def test_pretrained_pack_names_the_flag(tmp_path):
  done = subprocess.run(
    [sys.executable, "-m", "genre_jax.pretrained", "pack", str(tmp_path), "--out=x"],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2 and "no checkpoint here" in done.stderr
  assert "Traceback" not in done.stderr


def test_a_packed_model_has_the_temperature_that_its_run_was_evaluated_with(tmp_path):
  checkpoint = tmp_path / "run" / "checkpoints" / "12"
  checkpoint.mkdir(parents=True)
  assert model_dir.run_temperature(checkpoint) == 1.0
  (tmp_path / "run" / "eval").mkdir()
  (tmp_path / "run" / "eval" / "valid.json").write_text('{"temperature": {"temperature": 1.25}}')
  assert model_dir.run_temperature(tmp_path / "run") == 1.25
  assert model_dir.run_temperature(checkpoint) == 1.25
  (tmp_path / "run" / "eval" / "valid.json").write_text('{"temperature": {"temperature": null}}')
  assert model_dir.run_temperature(tmp_path / "run") == 1.0


def test_the_packaged_model_predicts(monkeypatch, tmp_path):
  """The packaged model is complete, states its training data, and predicts a tone."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # nothing was fetched
  model = load()
  assert model.name == model_dir.SMALL_MODEL and len(model.classes) == 10
  assert model.provenance["split"]["name"] == "fault_filtered" and model.temperature != 1
  segment = np.full((1, model.frontend.num_frames, model.frontend.n_mels), -80.0, np.float32)
  segment[:, :, 10:14] = -5.0
  probabilities, embedding = model.infer(segment, np.array([model.frontend.num_frames]))
  assert probabilities.sum() == pytest.approx(1) and embedding.shape[1] > 100
