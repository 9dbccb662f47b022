"""Test multi-label training: losses against their formulas, and a whole run."""

import csv
import json

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest
import soundfile

from genre_jax import table
from genre_jax.data.source import Clip
from genre_jax.errors import UserError
from genre_jax.evaluation import multi_label_metrics, run_predictions
from genre_jax.experiments import base
from genre_jax.inference import load, predict
from genre_jax.inference.model_dir import pack
from genre_jax.studies.run import train_and_evaluate
from genre_jax.training import checkpoints, losses
from genre_jax.training.config_checks import check_config
from genre_jax.training.setup import check_classes, open_dataset, open_experiment

pytestmark = pytest.mark.slow


def test_binary_cross_entropy_equals_optax():
  rng = np.random.default_rng(0)
  logits, labels = jnp.asarray(rng.normal(size=(6, 3))), jnp.asarray(rng.integers(0, 2, (6, 3)))
  known = jnp.asarray(rng.random((6, 3)) < 0.7)
  labels = labels.astype(logits.dtype)
  expected = optax.sigmoid_binary_cross_entropy(logits, labels)
  np.testing.assert_allclose(
    losses.binary_cross_entropy(logits, labels, known), expected[known].mean(), rtol=1e-6
  )
  weight = jnp.array([3.0, 1.0, 0.5], logits.dtype)
  np.testing.assert_allclose(
    losses.binary_cross_entropy(logits, labels, jnp.ones((6, 3)), positive_weight=weight),
    (expected * jnp.where(labels > 0, weight[None], 1)).mean(),
    rtol=1e-6,
  )


def test_asymmetric_loss_equals_the_formula_of_the_paper():
  logits, labels = jnp.array([[2.0, -1.0, -4.0]]), jnp.array([[1.0, 0.0, 0.0]])
  p = 1 / (1 + np.exp(-np.array([2.0, -1.0, -4.0])))
  shifted = np.maximum(p - 0.05, 0)
  expected = [-((1 - p[0]) ** 1.5) * np.log(p[0]), *(-(shifted**4) * np.log(1 - shifted))[1:]]
  loss = losses.binary_cross_entropy(
    logits, labels, jnp.ones((1, 3)), focus_positive=1.5, focus_negative=4.0, negative_margin=0.05
  )
  np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-5)


@pytest.mark.parametrize(
  "fields", [{}, dict(focus_positive=0.5, focus_negative=0.5, negative_margin=0.05)]
)
def test_extreme_logits_have_finite_losses_and_gradients(fields):
  logits = jnp.array([[1e4, -1e4, 0.0, -1e4]])
  loss, grad = jax.value_and_grad(losses.binary_cross_entropy)(
    logits, jnp.array([[0.0, 1.0, 0.5, 0.0]]), jnp.ones((1, 4)), **fields
  )
  assert np.isfinite(loss) and np.isfinite(grad).all()
  assert losses.binary_cross_entropy(logits, logits, jnp.zeros((1, 4))) == 0


def test_positive_weights():
  labels = np.zeros((100, 3), bool)
  labels[:20, 0] = labels[:1, 2] = True
  known = np.ones_like(labels)
  known[60:, 0] = False
  np.testing.assert_allclose(losses.positive_weights(labels, known, 1.0), [2, 20, 20])
  np.testing.assert_allclose(losses.positive_weights(labels, known, 0.5)[0], 2**0.5)


def test_the_batch_loss_ignores_masked_rows_and_unknown_labels():
  config = ml_collections.ConfigDict(
    {
      "task": "multi_label",
      "train": {"label_smoothing": 0.0},
      "loss": base.get_config().loss.to_dict(),
    }
  )
  loss_of = losses.make_loss(config)
  logits = jnp.array([[1.0, -1.0], [9.0, 9.0]])
  batch = {
    "labels": jnp.array([[1.0, 1.0], [0.0, 0.0]]),
    "mask": jnp.array([True, False]),
    "label_mask": jnp.array([[1.0, 0.0], [1.0, 1.0]]),
  }
  loss, accuracy = loss_of(logits, batch)
  assert loss == pytest.approx(np.log1p(np.exp(-1.0))) and accuracy == 1.0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """Run on a table of tones: low, high, both or neither; some labels are unknown."""
  place = tmp_path_factory.mktemp("tones")
  rng, rows = np.random.default_rng(0), ["file,genre,group"]
  time = np.arange(22050) / 22050
  for i in range(72):
    kinds = [("low",), ("high",), ("low", "high"), ("noise",)][i % 4]
    audio = 0.01 * rng.normal(size=22050)
    for kind in set(kinds) - {"noise"}:
      hz = {"low": 300, "high": 5000}[kind] * rng.uniform(0.8, 1.25)
      audio += 0.2 * np.sin(2 * np.pi * hz * time)
    soundfile.write(place / f"{i:02d}.wav", audio, 22050)
    unknown = ["?low"] if kinds == ("high",) and i % 3 else []
    rows.append(f"{i:02d}.wav,{';'.join((*kinds, *unknown))},g{i // 4}")
  (place / "table.csv").write_text("\n".join(rows))
  config = base.get_config()
  config.task = "multi_label"
  config.dataset.source = "audio_table"
  config.dataset.path = str(place / "table.csv")
  config.dataset.prepared_dir = str(place / "prepared")
  config.dataset.workers = 1
  config.split.name = "grouped_kfold"
  config.split.num_folds = 3
  config.frontend.n_mels = 16
  config.frontend.num_frames = 8
  config.model.name = "baseline"
  with config.unlocked():
    config.model.channels = (8, 16)
  config.loss.positive_power = 0.5
  config.loss.focus_negative = 1.0
  config.augment.mixup_alpha = 0.2
  config.train.batch_size = 16
  config.train.epochs = 40
  config.train.eval_every_epochs = 10
  config.train.best_metric = "pr_auc"
  return config, place / "run", train_and_evaluate(config, str(place / "run"))


def test_a_run_learns_labels_that_do_not_exclude_each_other(run):
  _, workdir, reports = run
  test = json.loads((workdir / "eval" / "test.json").read_text())
  assert test == reports["test"] and test["task"] == "multi_label"
  assert test["track"]["roc_auc_macro"] > 0.95 and test["track"]["f1_macro"] > 0.85
  assert test["classes"] == ["high", "low", "noise"]
  low = test["track"]["per_class"]["low"]
  assert low["known"] < test["track"]["n"] and low["n"] == 12
  ends = test["track"]["ci95"]["exact_match"]
  assert ends[0] <= test["track"]["exact_match"] <= ends[1]
  header, *rows = (workdir / "eval" / "test.csv").read_text().splitlines()
  assert header == "track,group,label,prediction,p_high,p_low,p_noise"
  assert any(",high;?low," in row for row in rows) and any(",high;low," in row for row in rows)


def test_thresholds_are_chosen_on_validation_and_stored_in_the_checkpoint(run):
  config, workdir, reports = run
  assert reports["validation"]["thresholds"] == reports["test"]["thresholds"]
  assert set(reports["validation"]["thresholds"]) == {"high", "low", "noise"}
  metadata = checkpoints.metadata(checkpoints.locate(str(workdir)))
  assert metadata["thresholds"] == reports["validation"]["thresholds"]
  assert metadata["task"] == "multi_label"
  again = train_and_evaluate(config, str(workdir), mode="eval")
  assert again == reports


def test_predict_gives_the_labels_of_the_evaluation(run, tmp_path):
  config, workdir, reports = run
  with open(workdir / "eval" / "test.csv") as file:
    rows = list(csv.DictReader(file))
  place = workdir.parent
  for name in (str(workdir), str(pack(str(workdir), tmp_path / "packed"))):
    model = load(name)
    assert dict(zip(model.classes, model.thresholds, strict=True)) == reports["test"]["thresholds"]
    predictions = predict(
      [place / f"{row['track'].removesuffix('.wav')}.wav" for row in rows], model
    )
    for row, prediction in zip(rows, predictions, strict=True):
      tags = set(prediction.genre.split(";")) - {"unknown"}
      assert tags == set(row["prediction"].split(";")) - {""}


def test_its_predictions_are_read_back(run):
  _, workdir, reports = run
  metrics = multi_label_metrics.BootstrapMetrics(
    [run_predictions.read_multi_label(workdir, "test")]
  )
  for name in multi_label_metrics.METRICS:
    assert metrics.observed[name] == pytest.approx(reports["test"]["track"][name])
    assert metrics.interval(name) == pytest.approx(reports["test"]["track"]["ci95"][name])


def test_its_report_table_and_compare(run, tmp_path):
  _, workdir, _ = run
  page = (workdir / "eval" / "report.html").read_text()
  for words in (
    "PR-AUC, macro",
    "By class, tracks",
    "threshold",
    "Tracks with the lowest likelihood",
    "true labels rank first",
    "Learning curves",
    "Precision and recall of tracks",
  ):
    assert words in page, words
  task, lines = table.rows(workdir)
  assert task == "multi_label" and len(lines) == 2
  assert all(
    line.count("|") == table.HEADER_MULTI_LABEL.split("\n")[0].count("|") for line in lines
  )
  with pytest.raises(UserError, match="multi_label, and compare needs.*genre_jax.table"):
    run_predictions.read_run(workdir, "test")


@pytest.fixture(scope="module")
def one_class(run):
  """Run on the same tracks with one class, which most of them lack."""
  config, workdir, _ = run
  config = config.copy_and_resolve_references()
  config.dataset.genres = "low"
  config.train.epochs = 2
  config.train.eval_every_epochs = 2
  folder = workdir.parent / "one"
  return config, folder, train_and_evaluate(config, str(folder))


def test_tracks_without_a_class_are_used_in_training_and_evaluation(one_class):
  _, folder, reports = one_class
  for split in ("validation", "test"):
    track = reports[split]["track"]
    low = track["per_class"]["low"]
    assert 0 < low["n"] < low["known"] == track["n"]  # unknown ones are left out
    assert 0 <= track["roc_auc_macro"] <= 1 and track["top_match"] is None
    assert track["exact_match"] is not None
  with open(folder / "eval" / "test.csv") as file:
    labels = [row["label"] for row in csv.DictReader(file)]
  assert set(labels) == {"", "low"}
  p, thresholds = run_predictions.read_multi_label(folder, "test")
  assert p.labels[:, 0].tolist() == [label == "low" for label in labels] and p.known.all()
  none = labels.count("")
  assert f"{none} tracks have none of the labels" in (folder / "eval" / "report.html").read_text()
  assert multi_label_metrics.BootstrapMetrics([(p, thresholds)]).observed[
    "exact_match"
  ] == pytest.approx(reports["test"]["track"]["exact_match"])
  assert all(
    line.count("|") == table.HEADER_MULTI_LABEL.split("\n")[0].count("|")
    for line in table.rows(folder)[1]
  )


def test_labels_that_are_the_same_for_all_tracks_are_refused(one_class, tmp_path):
  config = one_class[0].copy_and_resolve_references()
  place = tmp_path / "table.csv"
  soundfile.write(tmp_path / "a.wav", np.sin(np.arange(9000) / 9), 22050)
  place.write_text("file,genre\na.wav,low;high\n")
  config.dataset.path = str(place)
  for config.dataset.genres in ("low", "low,high"):
    with pytest.raises(UserError, match="nothing to distinguish among the 1 tracks: every track"):
      open_experiment(config)
  clips = [Clip("a", "a", ()), Clip("b", "b", (), unknown=("x",))]
  with pytest.raises(UserError, match="2 tracks of the train split: no track has the label x"):
    check_classes("multi_label", ("x",), clips, " of the train split")
  check_classes("multi_label", ("x",), [Clip("a", "a", ("x",)), *clips])
  with pytest.raises(UserError, match="there is one genre, x: give at least two"):
    check_classes("single_label", ("x",), clips)


def test_metrics_during_training_have_the_names_of_the_task(run):
  _, workdir, _ = run
  last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
  assert {"validation/pr_auc", "validation/nll", "train/loss", "train/accuracy"} <= set(last)


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"train.best_metric": "accuracy"}, "give pr_auc, nll or last with task=multi_label"),
    ({"task": "single_label", "loss.focus_negative": 2.0}, "focus_negative=2.0: give 0"),
    ({"loss.negative_margin": 1.0}, "negative_margin=1.0"),
    ({"loss.positive_power": -1.0}, "positive_power=-1.0"),
    ({"task": "several"}, "give single_label, multi_label"),
  ],
)
def test_mistakes(changes, message):
  config = base.get_config()
  config.task = "multi_label"
  with pytest.raises(UserError, match=message):
    config.update_from_flattened_dict(changes)
    check_config(config)


def test_single_label_needs_one_genre_per_track(run):
  config, workdir, _ = run
  with config.unlocked():
    config = ml_collections.ConfigDict(config.to_dict())
  config.task = "single_label"
  config.train.best_metric = "last"
  for name in config.loss:
    config.loss[name] = 0.0
  with pytest.raises(UserError, match="needs one genre per track; .* --config.task=multi_label"):
    open_dataset(config)
