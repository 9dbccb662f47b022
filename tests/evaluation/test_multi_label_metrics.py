"""Test multi-label metrics against scikit-learn, and the coverage of their intervals."""

import dataclasses

import numpy as np
import pytest
import sklearn.metrics

from genre_jax.evaluation import metrics, multi_label_metrics


def _predictions(n=300, k=4, seed=0, ties=False, unknown=0.0):
  rng = np.random.default_rng(seed)
  labels = rng.random((n, k)) < np.linspace(0.1, 0.6, k)
  logits = rng.normal(size=(n, k)) + 1.2 * labels
  if ties:
    logits = np.round(logits)
  return metrics.Predictions(
    names=tuple(f"t{i}" for i in range(n)),
    groups=tuple(f"g{i // 5}" for i in range(n)),
    labels=labels,
    probabilities=metrics.sigmoid(logits),
    classes=tuple("abcd"[:k]),
    known=rng.random((n, k)) >= unknown,
  )


@pytest.mark.parametrize("ties", [False, True])
def test_metrics_equal_scikit_learn(ties):
  p = _predictions(ties=ties)
  cuts = {"a": 0.3, "b": 0.5, "c": 0.6, "d": 0.45}
  report = multi_label_metrics.summarize_multi_label(p, cuts, draws=20)
  y, s = p.labels, p.probabilities
  found = s >= np.array(list(cuts.values()))
  for kind in ("macro", "micro"):
    assert report[f"roc_auc_{kind}"] == pytest.approx(
      sklearn.metrics.roc_auc_score(y, s, average=kind)
    )
    assert report[f"f1_{kind}"] == pytest.approx(sklearn.metrics.f1_score(y, found, average=kind))
  assert report["map"] == pytest.approx(sklearn.metrics.average_precision_score(y, s))
  assert report["exact_match"] == pytest.approx(sklearn.metrics.accuracy_score(y, found))
  assert report["nll"] == pytest.approx(
    np.mean([sklearn.metrics.log_loss(y[:, c], s[:, c]) for c in range(4)])
  )

  def area(y, s):
    precision, recall, _ = sklearn.metrics.precision_recall_curve(y, s)
    return sklearn.metrics.auc(recall, precision)

  assert report["pr_auc_micro"] == pytest.approx(area(y.ravel(), s.ravel()))
  assert report["pr_auc_macro"] == pytest.approx(
    np.mean([area(y[:, c], s[:, c]) for c in range(4)])
  )
  precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(y, found)
  for c, name in enumerate(p.classes):
    of = report["per_class"][name]
    assert (of["n"], of["threshold"], of["known"]) == (support[c], cuts[name], 300)
    assert of["precision"] == pytest.approx(precision[c])
    assert of["recall"] == pytest.approx(recall[c]) and of["f1"] == pytest.approx(f1[c])
    assert of["roc_auc"] == pytest.approx(sklearn.metrics.roc_auc_score(y[:, c], s[:, c]))
    assert of["average_precision"] == pytest.approx(
      sklearn.metrics.average_precision_score(y[:, c], s[:, c])
    )


def test_weighted_areas_equal_scikit_learn():
  p, weights = _predictions(ties=True), np.random.default_rng(3).exponential(size=(2, 300))
  weights[1, :100] = 0
  for c in range(4):
    y, s = p.labels[:, c], p.probabilities[:, c]
    roc, _, average = multi_label_metrics.areas(s, y, weights)
    for i, w in enumerate(weights):
      assert roc[i] == pytest.approx(sklearn.metrics.roc_auc_score(y, s, sample_weight=w))
      assert average[i] == pytest.approx(
        sklearn.metrics.average_precision_score(y, s, sample_weight=w)
      )


def test_unknown_labels_count_in_no_metric():
  p = _predictions(unknown=0.3)
  cuts = multi_label_metrics.choose_thresholds(p)
  other = np.where(p.known, p.probabilities, 1 - p.probabilities)
  q = metrics.Predictions(
    p.names, p.groups, np.where(p.known, p.labels, ~p.labels), other, p.classes, p.known
  )
  assert multi_label_metrics.choose_thresholds(q) == cuts
  one, two = (multi_label_metrics.summarize_multi_label(x, cuts, draws=20) for x in (p, q))
  assert one == two
  for c, name in enumerate(p.classes):
    rows = p.known[:, c]
    assert one["per_class"][name]["roc_auc"] == pytest.approx(
      sklearn.metrics.roc_auc_score(p.labels[rows, c], p.probabilities[rows, c])
    )


def test_thresholds_are_the_best_for_f1():
  p = _predictions(ties=True)
  cuts = multi_label_metrics.choose_thresholds(p)
  for c, name in enumerate(p.classes):
    y, s = p.labels[:, c], p.probabilities[:, c]
    best = max(sklearn.metrics.f1_score(y, s >= cut) for cut in np.unique(s))
    assert sklearn.metrics.f1_score(y, s >= cuts[name]) == pytest.approx(best)
  none = metrics.Predictions(
    p.names, p.groups, p.labels & False, p.probabilities, p.classes, p.known
  )
  assert set(multi_label_metrics.choose_thresholds(none).values()) == {0.5}
  report = multi_label_metrics.summarize_multi_label(none, cuts, draws=20)
  assert report["pr_auc_macro"] is None and report["per_class"]["a"]["roc_auc"] is None
  assert report["ci95"]["pr_auc_macro"] == [None, None]


def test_exact_and_leading_labels():
  p = metrics.Predictions(
    tuple("vwxy"),
    tuple("vwxy"),
    np.array([[1, 1, 0], [1, 1, 0], [0, 1, 1], [0, 0, 0]], bool),
    np.array([[0.9, 0.8, 0.1], [0.9, 0.4, 0.3], [0.6, 0.9, 0.5], [0.1, 0.2, 0.3]]),
    tuple("abc"),
    np.ones((4, 3), bool),
  )
  report = multi_label_metrics.summarize_multi_label(p, dict.fromkeys("abc", 0.5), draws=20)
  assert report["exact_match"] == 0.5  # the first row, and the last, which has no label
  assert report["top_match"] == pytest.approx(2 / 3)  # of the three rows with labels


def test_if_all_or_none_match_a_share_has_wilsons_interval_and_an_area_has_none():
  labels = np.tile(np.eye(2, dtype=bool), (10, 1))
  groups = tuple(f"g{i // 2}" for i in range(20))
  p = metrics.Predictions(
    tuple(map(str, range(20))),
    groups,
    labels,
    np.where(labels, 0.8, 0.3),
    ("a", "b"),
    np.ones((20, 2), bool),
  )
  found = multi_label_metrics.summarize_multi_label(p, {"a": 0.5, "b": 0.5}, draws=50)
  assert found["exact_match"] == 1 and found["pr_auc_macro"] == 1
  assert found["ci95"]["exact_match"] == list(metrics.wilson_interval(1.0, 10))
  assert found["ci95"]["pr_auc_macro"] == [None, None]
  none = multi_label_metrics.BootstrapMetrics([(p, {"a": 0.9, "b": 0.9})])
  assert none.observed["exact_match"] == 0
  assert none.interval("exact_match") == list(metrics.wilson_interval(0.0, 10))


def test_a_single_class_has_no_top_match():
  p = _predictions(k=1)
  report = multi_label_metrics.summarize_multi_label(p, {"a": 0.5}, draws=20)
  assert report["top_match"] is None and report["ci95"]["top_match"] == [None, None]
  assert report["roc_auc_macro"] == pytest.approx(
    sklearn.metrics.roc_auc_score(p.labels[:, 0], p.probabilities[:, 0])
  )


def test_no_rows_give_null_metrics():
  p = metrics.Predictions(
    (), (), np.zeros((0, 2), bool), np.zeros((0, 2)), ("a", "b"), np.zeros((0, 2), bool)
  )
  report = multi_label_metrics.summarize_multi_label(p, {"a": 0.5, "b": 0.5})
  assert report["n"] == 0 and report["pr_auc_macro"] is None
  assert set(report) == set(
    multi_label_metrics.summarize_multi_label(_predictions(), dict.fromkeys("abcd", 0.5), draws=20)
  )


@pytest.mark.slow
def test_the_interval_covers_the_truth():
  """Check that intervals of 40 groups of correlated rows cover the true value in about 95 %."""
  rng, sets = np.random.default_rng(0), 200

  def simulate(groups):
    group = np.repeat(np.arange(groups), 5)
    labels = rng.random(5 * groups) < rng.beta(2, 2, groups)[group]
    scores = rng.normal(size=5 * groups) + labels + 0.5 * rng.normal(size=groups)[group]
    return metrics.Predictions(
      tuple(map(str, range(5 * groups))),
      tuple(map(str, group)),
      labels[:, None],
      metrics.sigmoid(scores[:, None]),
      ("a",),
      np.ones((5 * groups, 1), bool),
    )

  names = ("roc_auc_macro", "pr_auc_macro", "f1_macro", "exact_match")
  truth = multi_label_metrics.summarize_multi_label(simulate(40_000), {"a": 0.6}, draws=2)
  covered = dict.fromkeys(names, 0)
  for _ in range(sets):
    ends = multi_label_metrics.summarize_multi_label(simulate(40), {"a": 0.6}, draws=200)["ci95"]
    for name in names:
      covered[name] += ends[name][0] <= truth[name] <= ends[name][1]
  assert all(0.9 < count / sets < 0.99 for count in covered.values()), covered


def test_a_class_of_one_artist_does_not_shift_macro_metrics():
  """Draws without that artist average over the same classes as those with it."""
  rng = np.random.default_rng(4)
  labels = np.zeros((200, 3), bool)
  labels[np.arange(200), np.arange(200) % 2] = True
  labels[:10] = [False, False, True]  # all of one artist, and never predicted
  scores = np.clip(0.8 * labels + 0.1 + 0.02 * rng.normal(size=labels.shape), 0, 1)
  scores[:10, 2] = 0.0
  p = metrics.Predictions(
    tuple(map(str, range(200))),
    tuple(f"g{i // 10}" for i in range(200)),
    labels,
    scores,
    tuple("abc"),
    np.ones((200, 3), bool),
  )
  report = multi_label_metrics.summarize_multi_label(p, dict.fromkeys("abc", 0.5))
  low, high = report["ci95"]["pr_auc_macro"]
  assert report["pr_auc_macro"] < 0.75  # the third class is near 0
  assert low <= report["pr_auc_macro"] <= high < 0.8


def test_rows_of_two_groups_vary_with_both():
  weights, groups = multi_label_metrics.row_weights(("x;y", "x", "y"), 50)
  assert groups == 2
  np.testing.assert_allclose(weights[:, 0], weights[:, 1] * weights[:, 2])


def test_systems_are_compared_on_the_same_rows():
  """The difference to itself is 0, and that to a worse system has an interval above 0."""
  good = _predictions()
  noise = np.random.default_rng(1).uniform(-0.4, 0.4, good.probabilities.shape)
  bad = dataclasses.replace(good, probabilities=np.clip(good.probabilities + noise, 0, 1))
  cuts = dict.fromkeys("abcd", 0.5)
  a, b = (
    multi_label_metrics.BootstrapMetrics([(good, cuts)]),
    multi_label_metrics.BootstrapMetrics([(bad, cuts)]),
  )
  assert a.difference(a, "pr_auc_macro") == (0, [0, 0])
  difference, (low, high) = a.difference(b, "pr_auc_macro")
  assert 0 < low < difference < high
  assert b.difference(a, "pr_auc_macro")[1] == pytest.approx([-high, -low], abs=1e-3)
  both = multi_label_metrics.BootstrapMetrics([(good, cuts), (bad, cuts)])
  assert both.observed["map"] == pytest.approx((a.observed["map"] + b.observed["map"]) / 2)
