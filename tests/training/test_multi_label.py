"""Several labels a clip: losses against the formulas, figures against scikit-learn, a whole run."""

import csv
import dataclasses
import json

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest
import sklearn.metrics
import soundfile

from experiments import base
from genre_jax import table
from genre_jax.data.clips import Clip
from genre_jax.errors import UserError
from genre_jax.inference import load, predict
from genre_jax.inference.model_dir import pack
from genre_jax.training import checkpoints, losses, metrics, run_folder
from genre_jax.training import multi_label_metrics as several
from genre_jax.training.loop import train_and_evaluate
from genre_jax.training.session import check, check_classes, open_material, open_session


def _predictions(n=300, k=4, seed=0, ties=False, unknown=0.0):
  rng = np.random.default_rng(seed)
  labels = rng.random((n, k)) < np.linspace(0.1, 0.6, k)
  logits = rng.normal(size=(n, k)) + 1.2 * labels
  if ties:
    logits = np.round(logits)
  return metrics.Predictions(
    names=tuple(f"t{i}" for i in range(n)), groups=tuple(f"g{i // 5}" for i in range(n)),
    labels=labels, probabilities=metrics.sigmoid(logits), classes=tuple("abcd"[:k]),
    known=rng.random((n, k)) >= unknown)


@pytest.mark.parametrize("ties", [False, True])
def test_figures_equal_scikit_learn(ties):
  p = _predictions(ties=ties)
  cuts = {"a": 0.3, "b": 0.5, "c": 0.6, "d": 0.45}
  report = several.summarize_multi_label(p, cuts, draws=20)
  y, s = p.labels, p.probabilities
  found = s >= np.array(list(cuts.values()))
  for kind in ("macro", "micro"):
    assert report[f"roc_auc_{kind}"] == pytest.approx(
      sklearn.metrics.roc_auc_score(y, s, average=kind))
    assert report[f"f1_{kind}"] == pytest.approx(sklearn.metrics.f1_score(y, found, average=kind))
  assert report["map"] == pytest.approx(sklearn.metrics.average_precision_score(y, s))
  assert report["exact_match"] == pytest.approx(sklearn.metrics.accuracy_score(y, found))
  assert report["nll"] == pytest.approx(
    np.mean([sklearn.metrics.log_loss(y[:, c], s[:, c]) for c in range(4)]))

  def area(y, s):
    precision, recall, _ = sklearn.metrics.precision_recall_curve(y, s)
    return sklearn.metrics.auc(recall, precision)

  assert report["pr_auc_micro"] == pytest.approx(area(y.ravel(), s.ravel()))
  assert report["pr_auc_macro"] == pytest.approx(np.mean([area(y[:, c], s[:, c])
                                                         for c in range(4)]))
  precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(y, found)
  for c, name in enumerate(p.classes):
    of = report["per_class"][name]
    assert (of["n"], of["threshold"], of["known"]) == (support[c], cuts[name], 300)
    assert of["precision"] == pytest.approx(precision[c])
    assert of["recall"] == pytest.approx(recall[c]) and of["f1"] == pytest.approx(f1[c])
    assert of["roc_auc"] == pytest.approx(sklearn.metrics.roc_auc_score(y[:, c], s[:, c]))
    assert of["average_precision"] == pytest.approx(
      sklearn.metrics.average_precision_score(y[:, c], s[:, c]))


def test_weights_are_those_of_scikit_learn():
  p, weights = _predictions(ties=True), np.random.default_rng(3).exponential(size=(2, 300))
  weights[1, :100] = 0
  for c in range(4):
    y, s = p.labels[:, c], p.probabilities[:, c]
    roc, _, average = several.areas(s, y, weights)
    for i, w in enumerate(weights):
      assert roc[i] == pytest.approx(sklearn.metrics.roc_auc_score(y, s, sample_weight=w))
      assert average[i] == pytest.approx(
        sklearn.metrics.average_precision_score(y, s, sample_weight=w))


def test_unknown_labels_count_nowhere():
  p = _predictions(unknown=0.3)
  cuts = several.choose_thresholds(p)
  other = np.where(p.known, p.probabilities, 1 - p.probabilities)
  q = metrics.Predictions(p.names, p.groups, np.where(p.known, p.labels, ~p.labels), other,
                          p.classes, p.known)
  assert several.choose_thresholds(q) == cuts
  one, two = (several.summarize_multi_label(x, cuts, draws=20) for x in (p, q))
  assert one == two
  for c, name in enumerate(p.classes):
    rows = p.known[:, c]
    assert one["per_class"][name]["roc_auc"] == pytest.approx(
      sklearn.metrics.roc_auc_score(p.labels[rows, c], p.probabilities[rows, c]))


def test_thresholds_are_the_best_for_f1():
  p = _predictions(ties=True)
  cuts = several.choose_thresholds(p)
  for c, name in enumerate(p.classes):
    y, s = p.labels[:, c], p.probabilities[:, c]
    best = max(sklearn.metrics.f1_score(y, s >= cut) for cut in np.unique(s))
    assert sklearn.metrics.f1_score(y, s >= cuts[name]) == pytest.approx(best)
  none = metrics.Predictions(p.names, p.groups, p.labels & False, p.probabilities, p.classes,
                             p.known)
  assert set(several.choose_thresholds(none).values()) == {0.5}
  report = several.summarize_multi_label(none, cuts, draws=20)
  assert report["pr_auc_macro"] is None and report["per_class"]["a"]["roc_auc"] is None
  assert report["ci95"]["pr_auc_macro"] == [None, None]


def test_exact_and_leading_labels():
  p = metrics.Predictions(
    tuple("vwxy"), tuple("vwxy"), np.array([[1, 1, 0], [1, 1, 0], [0, 1, 1], [0, 0, 0]], bool),
    np.array([[.9, .8, .1], [.9, .4, .3], [.6, .9, .5], [.1, .2, .3]]), tuple("abc"),
    np.ones((4, 3), bool))
  report = several.summarize_multi_label(p, dict.fromkeys("abc", 0.5), draws=20)
  assert report["exact_match"] == 0.5  # the first, and the last that holds nothing
  assert report["top_match"] == pytest.approx(2 / 3)  # of the three that hold something


def test_where_nothing_or_everything_is_found_a_share_has_wilsons_interval_and_an_area_none():
  labels = np.tile(np.eye(2, dtype=bool), (10, 1))
  groups = tuple(f"g{i // 2}" for i in range(20))
  p = metrics.Predictions(tuple(map(str, range(20))), groups, labels, np.where(labels, 0.8, 0.3),
                          ("a", "b"), np.ones((20, 2), bool))
  found = several.summarize_multi_label(p, {"a": 0.5, "b": 0.5}, draws=50)
  assert found["exact_match"] == 1 and found["pr_auc_macro"] == 1
  assert found["ci95"]["exact_match"] == list(metrics.wilson_interval(1.0, 10))
  assert found["ci95"]["pr_auc_macro"] == [None, None]
  none = several.Answers([(p, {"a": 0.9, "b": 0.9})])
  assert none.seen["exact_match"] == 0
  assert none.interval("exact_match") == list(metrics.wilson_interval(0.0, 10))


def test_a_single_class_has_no_others_to_lead():
  p = _predictions(k=1)
  report = several.summarize_multi_label(p, {"a": 0.5}, draws=20)
  assert report["top_match"] is None and report["ci95"]["top_match"] == [None, None]
  assert report["roc_auc_macro"] == pytest.approx(
    sklearn.metrics.roc_auc_score(p.labels[:, 0], p.probabilities[:, 0]))


def test_no_rows_give_null_figures():
  p = metrics.Predictions((), (), np.zeros((0, 2), bool), np.zeros((0, 2)), ("a", "b"),
                          np.zeros((0, 2), bool))
  report = several.summarize_multi_label(p, {"a": 0.5, "b": 0.5})
  assert report["n"] == 0 and report["pr_auc_macro"] is None
  assert set(report) == set(several.summarize_multi_label(_predictions(), dict.fromkeys(
    "abcd", 0.5), draws=20))


def test_the_interval_covers_the_truth():
  """Of simulated sets with 40 groups of correlated rows, about 95 in 100 hold the true figure."""
  rng, sets = np.random.default_rng(0), 200

  def world(groups):
    group = np.repeat(np.arange(groups), 5)
    labels = rng.random(5 * groups) < rng.beta(2, 2, groups)[group]
    scores = rng.normal(size=5 * groups) + labels + 0.5 * rng.normal(size=groups)[group]
    return metrics.Predictions(
      tuple(map(str, range(5 * groups))), tuple(map(str, group)), labels[:, None],
      metrics.sigmoid(scores[:, None]), ("a",), np.ones((5 * groups, 1), bool))

  names = ("roc_auc_macro", "pr_auc_macro", "f1_macro", "exact_match")
  truth = several.summarize_multi_label(world(40_000), {"a": 0.6}, draws=2)
  covered = dict.fromkeys(names, 0)
  for _ in range(sets):
    ends = several.summarize_multi_label(world(40), {"a": 0.6}, draws=200)["ci95"]
    for name in names:
      covered[name] += ends[name][0] <= truth[name] <= ends[name][1]
  assert all(0.9 < count / sets < 0.99 for count in covered.values()), covered


def test_a_class_of_one_artist_does_not_shift_macro_figures():
  """Draws without that artist average over the same classes as those with it."""
  rng = np.random.default_rng(4)
  labels = np.zeros((200, 3), bool)
  labels[np.arange(200), np.arange(200) % 2] = True
  labels[:10] = [False, False, True]  # all of one artist, and never found
  scores = np.clip(0.8 * labels + 0.1 + 0.02 * rng.normal(size=labels.shape), 0, 1)
  scores[:10, 2] = 0.0
  p = metrics.Predictions(
    tuple(map(str, range(200))), tuple(f"g{i // 10}" for i in range(200)), labels, scores,
    tuple("abc"), np.ones((200, 3), bool))
  report = several.summarize_multi_label(p, dict.fromkeys("abc", 0.5))
  low, high = report["ci95"]["pr_auc_macro"]
  assert report["pr_auc_macro"] < 0.75  # the third class is near 0
  assert low <= report["pr_auc_macro"] <= high < 0.8


def test_rows_of_two_groups_vary_with_both():
  weights, groups = several.row_weights(("x;y", "x", "y"), 50)
  assert groups == 2
  np.testing.assert_allclose(weights[:, 0], weights[:, 1] * weights[:, 2])


def test_binary_cross_entropy_is_optax():
  rng = np.random.default_rng(0)
  logits, labels = jnp.asarray(rng.normal(size=(6, 3))), jnp.asarray(rng.integers(0, 2, (6, 3)))
  known = jnp.asarray(rng.random((6, 3)) < 0.7)
  labels = labels.astype(logits.dtype)
  expected = optax.sigmoid_binary_cross_entropy(logits, labels)
  np.testing.assert_allclose(losses.binary_cross_entropy(logits, labels, known),
                             expected[known].mean(), rtol=1e-6)
  weight = jnp.array([3.0, 1.0, 0.5], logits.dtype)
  np.testing.assert_allclose(
    losses.binary_cross_entropy(logits, labels, jnp.ones((6, 3)), positive_weight=weight),
    (expected * jnp.where(labels > 0, weight[None], 1)).mean(), rtol=1e-6)


def test_asymmetric_loss_is_the_papers():
  logits, labels = jnp.array([[2.0, -1.0, -4.0]]), jnp.array([[1.0, 0.0, 0.0]])
  p = 1 / (1 + np.exp(-np.array([2.0, -1.0, -4.0])))
  shifted = np.maximum(p - 0.05, 0)
  expected = [-(1 - p[0])**1.5 * np.log(p[0]), *(-shifted**4 * np.log(1 - shifted))[1:]]
  loss = losses.binary_cross_entropy(logits, labels, jnp.ones((1, 3)), focus_positive=1.5,
                                     focus_negative=4.0, negative_margin=0.05)
  np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-5)


@pytest.mark.parametrize("fields", [{}, dict(focus_positive=0.5, focus_negative=0.5,
                                             negative_margin=0.05)])
def test_extreme_logits_have_finite_losses_and_gradients(fields):
  logits = jnp.array([[1e4, -1e4, 0.0, -1e4]])
  loss, grad = jax.value_and_grad(losses.binary_cross_entropy)(
    logits, jnp.array([[0.0, 1.0, 0.5, 0.0]]), jnp.ones((1, 4)), **fields)
  assert np.isfinite(loss) and np.isfinite(grad).all()
  assert losses.binary_cross_entropy(logits, logits, jnp.zeros((1, 4))) == 0


def test_positive_weights():
  labels = np.zeros((100, 3), bool)
  labels[:20, 0] = labels[:1, 2] = True
  known = np.ones_like(labels)
  known[60:, 0] = False
  np.testing.assert_allclose(losses.positive_weights(labels, known, 1.0), [2, 20, 20])
  np.testing.assert_allclose(losses.positive_weights(labels, known, 0.5)[0], 2**0.5)


def test_the_batch_loss_takes_rows_and_labels_that_count():
  config = ml_collections.ConfigDict({"task": "multi_label", "train": {"label_smoothing": 0.0},
                                      "loss": base.get_config().loss.to_dict()})
  loss_of = losses.make_loss(config)
  logits = jnp.array([[1.0, -1.0], [9.0, 9.0]])
  batch = {"labels": jnp.array([[1.0, 1.0], [0.0, 0.0]]), "mask": jnp.array([True, False]),
           "label_mask": jnp.array([[1.0, 0.0], [1.0, 1.0]])}
  loss, right = loss_of(logits, batch)
  assert loss == pytest.approx(np.log1p(np.exp(-1.0))) and right == 1.0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run on a table of tones: low, high, both at once, or neither; of some nobody knows which."""
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
  config.recipe.n_mels = 16
  config.recipe.num_frames = 8
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


def test_thresholds_come_from_valid_and_stay_with_the_checkpoint(run):
  config, workdir, reports = run
  assert reports["valid"]["thresholds"] == reports["test"]["thresholds"]
  assert set(reports["valid"]["thresholds"]) == {"high", "low", "noise"}
  about = checkpoints.about(checkpoints.locate(str(workdir)))
  assert about["thresholds"] == reports["valid"]["thresholds"]
  assert about["task"] == "multi_label"
  again = train_and_evaluate(config, str(workdir), mode="eval")
  assert again == reports


def test_predict_answers_as_its_evaluation(run, tmp_path):
  config, workdir, reports = run
  with open(workdir / "eval" / "test.csv") as file:
    rows = list(csv.DictReader(file))
  place = workdir.parent
  for name in (str(workdir), str(pack(str(workdir), tmp_path / "packed"))):
    model = load(name)
    assert dict(zip(model.classes, model.thresholds, strict=True)) == reports["test"]["thresholds"]
    answers = predict([place / f"{row['track'].removesuffix('.wav')}.wav" for row in rows], model)
    for row, answer in zip(rows, answers, strict=True):
      tags = set(answer.genre.split(";")) - {"unknown"}
      assert tags == set(row["prediction"].split(";")) - {""}


def test_its_answers_are_read_back(run):
  _, workdir, reports = run
  answers = several.Answers([run_folder.read_multi_label(workdir, "test")])
  for name in several.FIGURES:
    assert answers.seen[name] == pytest.approx(reports["test"]["track"][name])
    assert answers.interval(name) == pytest.approx(reports["test"]["track"]["ci95"][name])


def test_systems_are_compared_on_the_same_rows():
  """The difference to itself is none, to a worse one with an interval above zero."""
  good = _predictions()
  noise = np.random.default_rng(1).uniform(-0.4, 0.4, good.probabilities.shape)
  bad = dataclasses.replace(good, probabilities=np.clip(good.probabilities + noise, 0, 1))
  cuts = dict.fromkeys("abcd", 0.5)
  a, b = several.Answers([(good, cuts)]), several.Answers([(bad, cuts)])
  assert a.minus(a, "pr_auc_macro") == (0, [0, 0])
  difference, (low, high) = a.minus(b, "pr_auc_macro")
  assert 0 < low < difference < high
  assert b.minus(a, "pr_auc_macro")[1] == pytest.approx([-high, -low], abs=1e-3)
  both = several.Answers([(good, cuts), (bad, cuts)])
  assert both.seen["map"] == pytest.approx((a.seen["map"] + b.seen["map"]) / 2)


def test_its_report_table_and_compare(run, tmp_path):
  _, workdir, _ = run
  page = (workdir / "eval" / "report.html").read_text()
  for words in ("PR-AUC, macro", "By class, tracks", "threshold", "Tracks furthest from the truth",
                "labels held lead the others", "Learning curves", "Precision and recall of tracks"):
    assert words in page, words
  task, lines = table.rows(workdir)
  assert task == "multi_label" and len(lines) == 2
  assert all(line.count("|") == table.HEADER_SEVERAL.split("\n")[0].count("|") for line in lines)
  with pytest.raises(UserError, match="multi_label, and compare counts.*genre_jax.table"):
    run_folder.read_run(workdir, "test")


@pytest.fixture(scope="module")
def one_class(run):
  """The same clips, of which one class is asked: most carry none."""
  config, workdir, _ = run
  config = config.copy_and_resolve_references()
  config.dataset.genres = "low"
  config.train.epochs = 2
  config.train.eval_every_epochs = 2
  folder = workdir.parent / "one"
  return config, folder, train_and_evaluate(config, str(folder))


def test_clips_of_no_class_are_learnt_and_asked(one_class):
  _, folder, reports = one_class
  for side in ("valid", "test"):
    track = reports[side]["track"]
    low = track["per_class"]["low"]
    assert 0 < low["n"] < low["known"] == track["n"]  # those that nobody knows are left out
    assert 0 <= track["roc_auc_macro"] <= 1 and track["top_match"] is None
    assert track["exact_match"] is not None
  with open(folder / "eval" / "test.csv") as file:
    labels = [row["label"] for row in csv.DictReader(file)]
  assert set(labels) == {"", "low"}
  p, thresholds = run_folder.read_multi_label(folder, "test")
  assert p.labels[:, 0].tolist() == [label == "low" for label in labels] and p.known.all()
  none = labels.count("")
  assert f"{none} tracks hold none of the classes" in (folder / "eval" / "report.html").read_text()
  assert several.Answers([(p, thresholds)]).seen["exact_match"] == pytest.approx(
    reports["test"]["track"]["exact_match"])
  assert all(line.count("|") == table.HEADER_SEVERAL.split("\n")[0].count("|")
             for line in table.rows(folder)[1])


def test_what_is_alike_cannot_be_told_apart(one_class, tmp_path):
  config = one_class[0].copy_and_resolve_references()
  place = tmp_path / "table.csv"
  soundfile.write(tmp_path / "a.wav", np.sin(np.arange(9000) / 9), 22050)
  place.write_text("file,genre\na.wav,low;high\n")
  config.dataset.path = str(place)
  for config.dataset.genres in ("low", "low,high"):
    with pytest.raises(UserError, match="nothing to tell apart among the 1 clips: every clip carr"):
      open_session(config)
  clips = [Clip("a", "a", ()), Clip("b", "b", (), unknown=("x",))]
  with pytest.raises(UserError, match="2 clips of the train side: no clip carries x. Add clips"):
    check_classes("multi_label", ("x",), clips, " of the train side")
  check_classes("multi_label", ("x",), [Clip("a", "a", ("x",)), *clips])
  with pytest.raises(UserError, match="there is one genre, x: give at least two"):
    check_classes("single_label", ("x",), clips)


def test_curves_name_what_was_measured(run):
  _, workdir, _ = run
  last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
  assert {"valid/pr_auc", "valid/nll", "train/loss", "train/accuracy"} <= set(last)


@pytest.mark.parametrize("changes, message", [
  ({"train.best_metric": "accuracy"}, "give pr_auc, nll or last with task=multi_label"),
  ({"task": "single_label", "loss.focus_negative": 2.0}, "focus_negative=2.0: give 0"),
  ({"loss.negative_margin": 1.0}, "negative_margin=1.0"),
  ({"loss.positive_power": -1.0}, "positive_power=-1.0"),
  ({"task": "several"}, "give single_label, multi_label")])
def test_mistakes(changes, message):
  config = base.get_config()
  config.task = "multi_label"
  with pytest.raises(UserError, match=message):
    config.update_from_flattened_dict(changes)
    check(config)


def test_one_genre_a_clip_is_not_asked_of_several(run, monkeypatch):
  config, workdir, _ = run
  with config.unlocked():
    config = ml_collections.ConfigDict(config.to_dict())
  config.task = "single_label"
  config.train.best_metric = "last"
  for name in config.loss:
    config.loss[name] = 0.0
  with pytest.raises(UserError, match="asks for one genre a clip; .* --config.task=multi_label"):
    open_material(config)
