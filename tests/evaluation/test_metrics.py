"""Test metrics and intervals against scikit-learn, SciPy and simulation."""

import numpy as np
import pytest
import sklearn.metrics

from genre_jax.evaluation import metrics


def _predictions(n=200, k=4, seed=0, groups=40):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, k, n)
  logits = rng.normal(size=(n, k)) + 1.5 * np.eye(k)[labels]
  return metrics.Predictions(
    names=tuple(f"t{i // 4}" for i in range(n)),
    groups=tuple(f"g{i // 4 % groups}" for i in range(n)),
    labels=labels,
    probabilities=metrics.softmax(logits),
    classes=tuple("abcd"[:k]),
  )


def test_summary_equals_scikit_learn():
  p = _predictions()
  report = metrics.summarize(p)
  predicted = p.probabilities.argmax(-1)
  assert report["n"] == 200
  assert report["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(p.labels, predicted))
  assert report["macro_f1"] == pytest.approx(
    sklearn.metrics.f1_score(p.labels, predicted, average="macro")
  )
  assert report["nll"] == pytest.approx(sklearn.metrics.log_loss(p.labels, p.probabilities))
  np.testing.assert_array_equal(
    report["confusion"], sklearn.metrics.confusion_matrix(p.labels, predicted)
  )
  precision, recall, _, support = sklearn.metrics.precision_recall_fscore_support(
    p.labels, predicted
  )
  for i, name in enumerate(p.classes):
    of_class = report["per_class"][name]
    assert of_class["precision"] == pytest.approx(precision[i])
    assert of_class["recall"] == pytest.approx(recall[i])
    assert of_class["n"] == support[i]


def test_no_predictions_give_null_metrics():
  empty = metrics.Predictions((), (), np.zeros(0, int), np.zeros((0, 4)), tuple("abcd"))
  report = metrics.summarize(empty)
  assert report["n"] == 0
  assert report["accuracy"] is None and report["macro_f1"] is None
  assert report["confusion"] == [[0] * 4] * 4


def test_a_class_without_tracks_has_no_recall():
  p = _predictions()
  p = metrics.Predictions(p.names, p.groups, np.minimum(p.labels, 2), p.probabilities, p.classes)
  assert metrics.summarize(p)["per_class"]["d"]["recall"] is None


def test_track_prediction_is_the_mean_of_its_segments():
  p = metrics.Predictions(
    names=("x", "y", "x"),
    groups=("g", "h", "g"),
    labels=np.array([0, 1, 0]),
    probabilities=np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]]),
    classes=("a", "b"),
  )
  tracks = p.by_track()
  assert tracks.names == ("x", "y") and tracks.groups == ("g", "h")
  np.testing.assert_allclose(tracks.probabilities, [[0.6, 0.4], [0.4, 0.6]])
  np.testing.assert_array_equal(tracks.labels, [0, 1])


def test_wilson_interval_equals_scipy():
  from scipy.stats import binomtest

  for hits, n in ((0, 10), (7, 10), (83, 98), (98, 98)):
    expected = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert metrics.wilson_interval(hits / n, n) == pytest.approx(
      (expected.low, expected.high), abs=1e-6
    )


def test_interval_of_groups_of_one_is_close_to_wilsons():
  correct = np.arange(100) < 80
  low, high = metrics.accuracy_interval(correct, tuple(map(str, range(100))))
  expected = metrics.wilson_interval(0.8, 100)
  assert (low, high) == pytest.approx(expected, abs=0.003)


@pytest.mark.parametrize("groups", [8, 60])
@pytest.mark.parametrize("correlated", [False, True])
def test_interval_covers_the_truth(correlated, groups):
  """Check that 95 % intervals of groups of 1 to 6 trials cover the truth in about 95 %.

  With 2000 simulated sets the standard error of the coverage is half a point.
  """
  rng, count = np.random.default_rng(1), groups
  covered = 0
  for _ in range(2000):
    sizes = rng.integers(1, 7, count)
    groups = np.repeat(np.arange(count), sizes)
    chance = np.repeat(rng.beta(2, 0.5, count), sizes) if correlated else np.full(sizes.sum(), 0.8)
    correct = rng.random(len(groups)) < chance
    low, high = metrics.accuracy_interval(correct, tuple(groups.astype(str)))
    covered += low <= 0.8 <= high
  assert 0.925 < covered / 2000 < 0.985


def test_softmax_of_large_logits_is_finite():
  np.testing.assert_allclose(metrics.softmax(np.array([[1000.0, 0.0]])), [[1.0, 0.0]])
