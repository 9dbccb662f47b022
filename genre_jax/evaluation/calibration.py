"""Measure the calibration of probabilities, and fit a temperature.

The measures are Brier score, expected calibration error and reliability, for the single-label
`Predictions` of `metrics.py`.
"""

from typing import Any

import numpy as np

from genre_jax.evaluation.metrics import Predictions, softmax

BINS = 10
# A temperature fitted on fewer tracks is too uncertain.
MIN_TRACKS = 50


def negative_log_likelihood(
  probabilities: np.ndarray, labels: np.ndarray, min_probability: float = 0.0
) -> float:
  """Compute the mean of -log of the true class's probability.

  Args:
    probabilities: float[n, classes].
    labels: int[n].
    min_probability: Replaces smaller probabilities, such as those a file rounds to 0.
  """
  likelihood = probabilities[np.arange(len(labels)), labels]
  return float(-np.log(np.maximum(likelihood, min_probability)).mean())


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
  """Compute the Brier score: the mean squared distance from the one-hot label, from 0 to 2.

  The squared distance is summed over classes. Source: Brier, Mon. Weather Rev. 78 (1950) 1.

  Args:
    probabilities: float[n, classes].
    labels: int[n].
  """
  target = np.eye(probabilities.shape[1])[labels]
  return float(((probabilities - target) ** 2).sum(1).mean())


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
  """Compute confidence and accuracy of the predictions in each bin of confidence.

  Args:
    probabilities: float[n, classes].
    labels: int[n].

  Returns:
    For each of BINS bins of equal width, which include their upper edges: from, to, n, and mean
    confidence and accuracy (None if n is 0).
  """
  confidence = probabilities.max(1)
  correct = probabilities.argmax(1) == labels
  edges = np.linspace(0, 1, BINS + 1)
  index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, BINS - 1)
  out = []
  for i in range(BINS):
    in_bin = index == i
    n = int(in_bin.sum())
    out.append(
      {
        "from": float(edges[i]),
        "to": float(edges[i + 1]),
        "n": n,
        "confidence": float(confidence[in_bin].mean()) if n else None,
        "accuracy": float(correct[in_bin].mean()) if n else None,
      }
    )
  return out


def expected_calibration_error(table: list[dict[str, Any]]) -> float:
  """Compute the mean distance of accuracy and confidence over bins, weighted by n.

  Source: Guo et al., "On calibration of modern neural networks", ICML 2017.

  Args:
    table: The bins, from `reliability`.
  """
  n = sum(row["n"] for row in table)
  return sum(row["n"] * abs(row["accuracy"] - row["confidence"]) for row in table if row["n"]) / n


def summarize_calibration(predictions: Predictions) -> dict[str, Any]:
  """Compute brier, ece and reliability of predictions; brier and ece are None without rows.

  The calibration error of few tracks is biased upwards: compare it at equal n only.
  """
  if not len(predictions.labels):
    return {"brier": None, "ece": None, "reliability": []}
  table = reliability(predictions.probabilities, predictions.labels)
  return {
    "brier": brier_score(predictions.probabilities, predictions.labels),
    "ece": expected_calibration_error(table),
    "reliability": table,
  }


def calibration_metrics(
  probabilities: np.ndarray, labels: np.ndarray, min_probability: float = 0.0
) -> dict[str, float]:
  """Compute nll, brier and ece.

  Args:
    probabilities: float[n, classes].
    labels: int[n].
    min_probability: See `negative_log_likelihood`.
  """
  return {
    "nll": negative_log_likelihood(probabilities, labels, min_probability),
    "brier": brier_score(probabilities, labels),
    "ece": expected_calibration_error(reliability(probabilities, labels)),
  }


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
  """Compute p^(1/T), scaled to sum to 1.

  T above 1 lowers the confidence, T below 1 raises it; the order of the classes stays.

  Args:
    probabilities: float[..., classes].
    temperature: T, positive.

  Returns:
    float64[..., classes].
  """
  logs = np.log(np.maximum(np.asarray(probabilities, np.float64), 1e-300))
  return softmax(logs / temperature)


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
  """Fit the temperature between 1/8 and 8 that minimizes the negative log-likelihood.

  Source: Guo et al., "On calibration of modern neural networks", ICML 2017.

  Args:
    probabilities: float[n, classes].
    labels: int[n].
  """
  from scipy.optimize import minimize_scalar  # slow to import, and prediction does not need it

  def nll(log_temperature):
    return negative_log_likelihood(
      apply_temperature(probabilities, np.exp(log_temperature)), labels
    )

  return float(np.exp(minimize_scalar(nll, bounds=(-np.log(8), np.log(8)), method="bounded").x))


def cross_fit_temperatures(
  probabilities: np.ndarray, labels: np.ndarray, groups, folds: int = 5, seed: int = 0
) -> np.ndarray:
  """Apply temperatures that were fitted on the rows of other groups.

  Args:
    probabilities: float[n, classes].
    labels: int[n].
    groups: Group (artist) of each row; all rows of a group are in one fold.
    folds: Number of folds; each gets the temperature fitted on the others.
    seed: Seed of the assignment of groups to folds.

  Returns:
    float64[n, classes].
  """
  names, group = np.unique(np.asarray(groups), return_inverse=True)
  fold = (np.random.default_rng(seed).permutation(len(names)) % min(folds, len(names)))[group]
  out = np.array(probabilities, np.float64)
  for k in np.unique(fold):
    in_fold = fold == k
    if not in_fold.all():
      temperature = fit_temperature(probabilities[~in_fold], labels[~in_fold])
      out[in_fold] = apply_temperature(out[in_fold], temperature)
  return out


def perfect_calibration_error(probabilities: np.ndarray, draws: int = 2000) -> float:
  """Compute the 95 % quantile of the calibration error of a perfectly calibrated model of n rows.

  Labels are drawn from the probabilities, so that only chance causes the error.

  Args:
    probabilities: float[n, classes].
    draws: Number of drawn sets of labels.
  """
  rng = np.random.default_rng(0)
  ends = probabilities.cumsum(1)
  ends /= ends[:, -1:]
  errors = [
    expected_calibration_error(
      reliability(probabilities, (rng.random((len(ends), 1)) > ends).sum(1))
    )
    for _ in range(draws)
  ]
  return float(np.quantile(errors, 0.95))


def summarize_temperature(tracks: Predictions) -> dict[str, Any]:
  """Fit a temperature, and compute the metrics of probabilities with cross-fitted temperatures.

  Args:
    tracks: Predictions of tracks.

  Returns:
    temperature, fitted on all tracks, and nll, brier and ece with temperatures fitted on other
    groups. All are None with fewer than MIN_TRACKS tracks.
  """
  if len(tracks.labels) < MIN_TRACKS:
    return {"temperature": None, "nll": None, "brier": None, "ece": None}
  fitted = cross_fit_temperatures(tracks.probabilities, tracks.labels, tracks.groups)
  return {
    "temperature": fit_temperature(tracks.probabilities, tracks.labels),
    **calibration_metrics(fitted, tracks.labels),
  }
