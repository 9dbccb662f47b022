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


def test_a_temperature_is_recovered():
  rng = np.random.default_rng(0)
  true = rng.dirichlet(np.full(5, 0.5), 4000)
  labels = (rng.random((4000, 1)) > true.cumsum(1)).sum(1)
  sure = calibration.apply_temperature(true, 0.5)  # overconfident
  assert calibration.fit_temperature(sure, labels) == pytest.approx(2, rel=0.06)
  np.testing.assert_allclose(calibration.apply_temperature(sure, 2), true, atol=1e-6)
  fitted = calibration.cross_fit_temperatures(sure, labels, np.arange(4000) // 4)
  np.testing.assert_allclose(fitted, true, atol=0.05)
  limit = calibration.perfect_calibration_error(fitted, draws=200)
  assert calibration.expected_calibration_error(calibration.reliability(fitted, labels)) < limit
  assert calibration.expected_calibration_error(calibration.reliability(sure, labels)) > 3 * limit


def test_a_perfect_model_stays_below_the_limit_in_95_percent_of_draws():
  rng = np.random.default_rng(1)
  p = rng.dirichlet(np.ones(4), 150)
  limit = calibration.perfect_calibration_error(p, draws=1000)
  errors = [
    calibration.expected_calibration_error(
      calibration.reliability(p, (rng.random((150, 1)) > p.cumsum(1)).sum(1))
    )
    for _ in range(1000)
  ]
  assert 0.93 < np.mean(np.array(errors) <= limit) < 0.97


def test_cross_fitting_keeps_groups_apart():
  """A group whose labels are hopeless must not change its own temperature."""
  p = np.tile([0.7, 0.3], (40, 1))
  labels, groups = np.zeros(40, int), np.arange(40) // 8
  base = calibration.cross_fit_temperatures(p, labels, groups)
  labels[:8] = 1
  changed = calibration.cross_fit_temperatures(p, labels, groups)
  np.testing.assert_array_equal(base[:8], changed[:8])
  assert (base[8:] != changed[8:]).all()
