"""Test learning from a user's own genres: artists apart, wrong tags, the written model."""

import json
import os

import numpy as np
import pytest

from genre_jax.errors import UserError
from genre_jax.inference import model_dir
from genre_jax.inference.model import load, variable_shapes
from genre_jax.library import learn, softmax_regression
from genre_jax.library.database import transaction
from genre_jax.library.learning_examples import read_examples
from genre_jax.models import musicnn_yamnet
from genre_jax.models.registry import build_model
from tests.inference.conftest import SMALL, small_model, write_small_model  # noqa: F401

SIZE = 8
CENTERS = 3 * np.eye(SIZE)


def zeros(examples):
  return np.zeros((len(examples.labels), len(examples.genres)), np.float32)


def cross_validate(examples):
  return learn.cross_validate(examples, zeros(examples))


def _add(db, number, genre, center, artist, provenance=""):
  rng = np.random.default_rng(number)
  path = os.fsencode(f"/m/{artist or 'all'}/{number:03d}.flac")
  tags = {"artist": artist, "provenance": provenance, "genres": {"MP4": [genre]} if genre else {}}
  db.execute(
    "INSERT OR IGNORE INTO model (id, hash, name, classes, task, used) VALUES (1, 'x', 'fake',"
    " '[]', 'single_label', 0)"
  )
  file = db.execute(
    "INSERT INTO file (path, size, mtime_ns, ctime_ns, inode, tags, status, error)"
    " VALUES (?, 0, 0, 0, 0, ?, 'ok', '')",
    (path, json.dumps(tags)),
  ).lastrowid
  vector = CENTERS[center] + rng.normal(size=SIZE)
  db.execute(
    "INSERT INTO analysis (file, model, label, confidence, probabilities, embedding)"
    " VALUES (?, 1, '', 0, x'', ?)",
    (file, vector.astype(np.float16).tobytes()),
  )
  return os.fsdecode(path)


@pytest.fixture
def songs(db):
  """Return the paths of 120 songs of three genres; every tenth of 'Doom' is tagged 'Bop'."""
  with transaction(db):
    paths = []
    for number in range(120):
      center = number % 3
      genre = ["Doom", "Bop", "Dub"][center]
      if center == 0 and number % 30 == 0:
        genre = "Bop"
      paths.append(_add(db, number, genre, center, f"artist {number % 12}"))
    return paths


def test_examples(db, songs):
  _add(db, 200, "Polka", 4, "one artist")
  _add(db, 201, "DOOM; Slow", 0, "artist 0")  # another spelling, and a second genre
  _add(db, 202, "Rock", 4, "artist 1", provenance=json.dumps({"genres": ["Rock"]}))
  _add(db, 203, "", 4, "artist 2")
  examples = read_examples(db, 1)
  assert examples.genres == ("Bop", "Doom", "Dub") and len(examples.paths) == 121
  assert examples.left_out == {"Polka": 1}
  assert examples.features.shape == (121, SIZE) and examples.features.dtype == np.float32


def test_a_table_of_the_user(tmp_path, db):
  paths = [_add(db, number, "Doom", number % 2, "") for number in range(8)]
  table = tmp_path / "genres.csv"
  lines = [
    f"{os.path.relpath(path, tmp_path) if n % 2 else path},{'Slow' if n % 2 else 'Fast'},{n % 4}"
    for n, path in enumerate(paths)
  ]
  table.write_text("\n".join(["file,genre,group", *lines, "/absent.flac,Fast,1"]) + "\n")
  examples = read_examples(db, 1, str(table))
  assert examples.genres == ("Fast", "Slow") and len(examples.paths) == 8
  assert set(examples.groups) == {"0", "1", "2", "3"}
  assert examples.notes == (f"1 of 9 files in {table} are not in the library, first /absent.flac",)
  # Without artists the folder is the group, and these songs are in one folder.
  table.write_text("\n".join(["file,genre", *[line.rsplit(",", 1)[0] for line in lines]]) + "\n")
  with pytest.raises(UserError, match="Fast 1, Slow 1"):
    read_examples(db, 1, str(table))
  table.write_text("\n".join(["file,genre,group", *lines, f"{paths[0]},,1"]) + "\n")
  with pytest.raises(UserError, match="genres.csv, line 10: .*000.flac is listed in line 2"):
    read_examples(db, 1, str(table))
  table.write_text("file,genre\n/absent.flac,Fast\n/b.flac,\n")
  with pytest.raises(
    UserError, match=r"2 of 2 files in .* are not in the library, first /absent.*1 of 2 .* without"
  ):
    read_examples(db, 1, str(table))
  table.write_text("name,genre\n")
  with pytest.raises(UserError, match="column file is missing"):
    read_examples(db, 1, str(table))


def test_artists_are_apart_in_cross_validation(db, songs, monkeypatch):
  examples = read_examples(db, 1)
  real, seen = softmax_regression.fit, []

  def fit(features, labels, start, decay):
    seen.append({tuple(row) for row in features})
    return real(features, labels, start, decay)

  monkeypatch.setattr(softmax_regression, "fit", fit)
  predictions, *_ = cross_validate(examples)
  assert len(seen) == learn.FOLDS * (len(learn.DECAYS) + 1)
  for training in seen:
    inside = {
      group
      for group, row in zip(examples.groups, examples.features, strict=True)
      if tuple(row) in training
    }
    outside = {
      group
      for group, row in zip(examples.groups, examples.features, strict=True)
      if tuple(row) not in training
    }
    assert not inside & outside
  np.testing.assert_allclose(predictions.probabilities.sum(1), 1)


def test_wrong_tags_are_found(db, songs):
  predictions, *_ = cross_validate(read_examples(db, 1))
  found = learn.suspicious(predictions)
  wrong = {song for number, song in enumerate(songs) if number % 30 == 0}
  # The clearest ones are wrong; one lies between the genres by chance.
  assert {row[:3] for row in found[:3]} < {(path, "Bop", "Doom") for path in wrong}
  assert len(found) <= len(wrong) + 8
  margins = [row[3] for row in found]
  assert margins == sorted(margins, reverse=True)


@pytest.mark.slow
def test_the_layer_is_the_minimum(db, songs):
  """Compare with scikit-learn on features of other scales, with balanced classes."""
  sklearn = pytest.importorskip("sklearn.linear_model")
  examples = read_examples(db, 1)
  scale = np.arange(1, SIZE + 1, dtype=np.float32)
  features = examples.features * scale + 5
  kernel, bias = softmax_regression.fit(features, examples.labels, zeros(examples), 0.01)
  deviation = features.std(0)
  standard = (features - features.mean(0)) / (deviation + 0.3 * np.median(deviation))
  model = sklearn.LogisticRegression(
    C=1 / (0.01 * len(features)), class_weight="balanced", tol=1e-8, max_iter=1000
  ).fit(standard, examples.labels)
  logits = features @ kernel + bias
  expected = model.decision_function(standard)
  centered = [values - values.mean(1, keepdims=True) for values in (logits, expected)]
  np.testing.assert_allclose(*centered, atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["axis_features", "baseline", "split_cnn"])
def test_the_model_is_an_ordinary_one(tmp_path, db, songs, network, small_model):  # noqa: F811
  base = small_model if network == "axis_features" else write_small_model(tmp_path, network=network)
  model = load(str(base))
  rng = np.random.default_rng(0)
  segments = rng.normal(-40, 10, (6, SMALL.num_frames, SMALL.n_mels)).astype(np.float32)
  frames = np.full(6, SMALL.num_frames)
  _, embeddings = model.infer(segments, frames)
  examples = read_examples(db, 1)
  wide = np.zeros((len(examples.labels), embeddings.shape[1]), np.float32)
  wide[:, :SIZE] = examples.features
  examples = learn.dataclasses.replace(examples, features=wide)
  metadata, variables = model_dir.find_model(str(base))
  out = tmp_path / "mine"
  metrics, wrong = learn.learn(examples, metadata, variables, str(out))
  assert metrics["accuracy"] > 0.8 and metrics["ci95"][0] > 0.6
  learned = load(str(out))
  assert learned.name == "mine" and learned.classes == ("Bop", "Doom", "Dub")
  assert learned.task == "single_label" and learned.provenance["base"]["license"] == "CC0"
  decay = cross_validate(examples)[2]
  kernel, bias = softmax_regression.fit(examples.features, examples.labels, zeros(examples), decay)
  np.testing.assert_allclose(
    learned.logits(segments, frames), embeddings @ kernel + bias, rtol=1e-3, atol=1e-3
  )
  lines = (out / "suspicious.csv").read_text().splitlines()
  assert lines[0] == "file,genre,more_probable,margin" and len(lines) == wrong + 1
  text = "\n".join(learn.summary(examples, metrics, wrong, str(out)))
  assert "accuracy with artists apart" in text and "Doom" in text
  with pytest.raises(UserError, match="exists"):
    learn.learn(examples, metadata, variables, str(out))


def test_the_head_of_the_default_model():
  params = {"head": {"kernel": np.ones((4, 9)), "bias": np.ones(9)}, "musicnn": {}}
  kernel, bias = np.ones((4, 2), np.float32), np.zeros(2, np.float32)
  new = learn.with_head({"params": params}, kernel, bias)
  assert new["params"]["head"]["kernel"].shape == (4, 2) and "musicnn" in new["params"]
  assert params["head"]["kernel"].shape == (4, 9)
  with pytest.raises(UserError, match="no linear layer"):
    learn.known_layer({"model": {"name": "x"}, "classes": []}, {"params": {}}, ["Doom"])


def test_numbers_that_are_not_learned_from_have_no_weight(tmp_path, db, songs, monkeypatch):
  monkeypatch.setattr(learn, "LEARNED", {SIZE: SIZE - 2})
  written = {}
  monkeypatch.setattr(learn, "write_model", lambda *values: written.update(values[2]))
  variables = {"params": {"head": {"kernel": np.zeros((SIZE, 6)), "bias": np.zeros(6)}}}
  metadata = {"name": "x", "model": {"name": "x"}, "classes": list("abcdef")}
  learn.learn(read_examples(db, 1), metadata, variables, str(tmp_path / "mine"))
  kernel = written["params/head/kernel"]
  assert kernel.shape == (SIZE, 3) and not kernel[-2:].any() and kernel[:-2].all()


def test_genres_that_the_model_knows_start_from_its_layer(db, songs):
  """A layer that tells songs apart is kept where the songs are few, and others are learned."""
  kernel = np.zeros((SIZE, 3), np.float32)
  kernel[1, 0], kernel[0, 2] = 5, 5
  head = {"kernel": kernel, "bias": np.array([1, 2, 3], np.float32)}
  metadata = {"classes": ["hip-hop", "speech", "doom"]}
  layer = learn.known_layer(metadata, {"params": {"head": head}}, ("Hip-Hop", "Doom", "Polka"))
  np.testing.assert_array_equal(layer[0], np.stack([kernel[:, 0], kernel[:, 2], kernel[:, 1]], 1))
  np.testing.assert_array_equal(layer[1], [1, 3, 0])
  examples = read_examples(db, 1)
  few = learn.dataclasses.replace(
    examples,
    paths=examples.paths[::6],
    groups=examples.groups[::6],
    labels=examples.labels[::6],
    features=np.float32(np.random.default_rng(0).normal(size=(20, SIZE))),
  )
  right = np.float32(5 * np.eye(3))[few.labels]
  accuracy = [
    (learn.cross_validate(few, start)[0].probabilities.argmax(1) == few.labels).mean()
    for start in (zeros(few), right)
  ]
  assert accuracy[0] < 0.8 and accuracy[1] == 1


def test_a_constant_number_has_no_weight():
  rng = np.random.default_rng(0)
  labels = np.arange(60) % 3
  features = rng.normal(size=(60, 20)).astype(np.float32) + 3 * np.eye(20)[labels]
  features[:, 8:] = np.float32(0.7)  # its deviation is rounding
  features[:, 12:], features[0, 19] = 0, 1e-4
  kernel, _ = softmax_regression.fit(features, labels, np.zeros((60, 3), np.float32), 0.01)
  assert np.abs(kernel[8:]).max() < 0.1 * np.abs(kernel[:3]).max()


def test_a_model_learned_from_the_default_one_can_be_built(tmp_path, db, songs):
  limits = ((), (0,), (0,), (1,), ())
  variables = {"params": {"head": {"kernel": np.zeros((SIZE, 6)), "bias": np.zeros(6)}}}
  metadata = {
    "name": "default",
    "classes": list("abcdef"),
    "model": {"name": "musicnn_yamnet", "not_music": 1, "limits": limits},
    "frontend": musicnn_yamnet.FRONTEND.to_dict(),
    "normalization": "none",
    "eval_per_track": 0,
  }
  learn.learn(read_examples(db, 1), metadata, variables, str(tmp_path / "mine"))
  written = json.loads((tmp_path / "mine" / "model.json").read_text())
  network = build_model(written["model"], len(written["classes"]))
  assert variable_shapes(network, musicnn_yamnet.FRONTEND)["params/head/bias"] == (3,)
