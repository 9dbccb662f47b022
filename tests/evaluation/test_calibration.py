"""Test calibration metrics against scikit-learn and values computed by hand."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from genre_jax.evaluation import calibration
from genre_jax.evaluation.metrics import Predictions


def _predictions(n=400, k=4, seed=0):
  rng = np.random.default_rng(seed)
  odds = np.exp(2 * rng.normal(size=(n, k)))
  return odds / odds.sum(1, keepdims=True), rng.integers(0, k, n)


def test_brier_equals_scikit_learn():
  probabilities, labels = _predictions()
  theirs = brier_score_loss(labels, probabilities, labels=range(4), scale_by_half=False)
  assert calibration.brier_score(probabilities, labels) == pytest.approx(theirs)
  assert calibration.brier_score(np.eye(3), np.arange(3)) == 0
  assert calibration.brier_score(np.eye(3), np.array([1, 2, 0])) == 2


def test_reliability_equals_scikit_learn():
  probabilities, labels = _predictions()
  rows = [row for row in calibration.reliability(probabilities, labels) if row["n"]]
  correct, confidence = calibration_curve(
    probabilities.argmax(1) == labels, probabilities.max(1), n_bins=10
  )
  np.testing.assert_allclose([row["accuracy"] for row in rows], correct)
  np.testing.assert_allclose([row["confidence"] for row in rows], confidence)
  assert sum(row["n"] for row in rows) == 400


def test_expected_calibration_error_by_hand():
  probabilities = np.array([[0.95, 0.05]] * 4 + [[0.55, 0.45]] * 2)
  labels = np.array([0, 0, 0, 1, 1, 1])
  table = calibration.reliability(probabilities, labels)
  assert calibration.expected_calibration_error(table) == pytest.approx(
    (4 * abs(0.75 - 0.95) + 2 * abs(0 - 0.55)) / 6
  )


def test_a_certain_prediction_is_in_the_last_bin_and_no_predictions_give_none():
  table = calibration.reliability(np.eye(2), np.array([0, 1]))
  assert table[-1] == {"from": 0.9, "to": 1.0, "n": 2, "confidence": 1.0, "accuracy": 1.0}
  empty = Predictions((), (), np.zeros(0, int), np.zeros((0, 2)), ("a", "b"))
  assert calibration.summarize_calibration(empty) == {"brier": None, "ece": None, "reliability": []}
