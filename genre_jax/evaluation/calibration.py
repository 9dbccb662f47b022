"""Whether probabilities mean what they say: Brier score, calibration error, reliability.

Stands beside `metrics.py`, on the same `Predictions`.
"""

from typing import Any

import numpy as np

from genre_jax.evaluation.metrics import Predictions, softmax

BINS = 10
# Fewer tracks say too little of a temperature.
LEAST_TRACKS = 50


def negative_log_likelihood(
  probabilities: np.ndarray, labels: np.ndarray, least: float = 0.0
) -> float:
  """Mean over rows of -log of the true class's probability.

  Args:
    probabilities: float[n, classes].
    labels: int[n].
    least: smaller probabilities count as this, such as the last digit that a file holds.
  """
  return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], least)).mean())


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
  """Mean over rows of the squared distance from the one-hot label, summed over classes: 0 to 2.

  Reference: Brier, Mon. Weather Rev. 78 (1950) 1.
  """
  target = np.eye(probabilities.shape[1])[labels]
  return float(((probabilities - target) ** 2).sum(1).mean())


def reliability(
  probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS
) -> list[dict[str, Any]]:
  """How often the prediction is right, for each tenth of the confidence in it.

  Args:
    probabilities: float[n, classes].
    labels: int[n].
    bins: of equal width over [0, 1]; each holds its upper edge.
  Returns:
    For each bin: from, to, n, and mean confidence and accuracy (None where n is 0).
  """
  confidence = probabilities.max(1)
  correct = probabilities.argmax(1) == labels
  edges = np.linspace(0, 1, bins + 1)
  place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
  out = []
  for i in range(bins):
    there = place == i
    n = int(there.sum())
    out.append(
      {
        "from": float(edges[i]),
        "to": float(edges[i + 1]),
        "n": n,
        "confidence": float(confidence[there].mean()) if n else None,
        "accuracy": float(correct[there].mean()) if n else None,
      }
    )
  return out


def expected_calibration_error(table: list[dict[str, Any]]) -> float:
  """Mean distance of accuracy and confidence over the bins of `reliability`, weighted by n.

  Reference: Guo et al., "On calibration of modern neural networks", ICML 2017.
  """
  n = sum(row["n"] for row in table)
  return sum(row["n"] * abs(row["accuracy"] - row["confidence"]) for row in table if row["n"]) / n


def summarize_calibration(predictions: Predictions) -> dict[str, Any]:
  """Keys that may join those of `metrics.summarize`: brier, ece and reliability (None without n).

  The calibration error of few tracks is biased upwards: compare it at equal n alone.
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
  probabilities: np.ndarray, labels: np.ndarray, least: float = 0.0
) -> dict[str, float]:
  """nll (see `negative_log_likelihood`), brier and ece of float[n, classes] and int[n]."""
  return {
    "nll": negative_log_likelihood(probabilities, labels, least),
    "brier": brier_score(probabilities, labels),
    "ece": expected_calibration_error(reliability(probabilities, labels)),
  }


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
  """p^(1/T), made to sum to 1: above 1 less sure, below 1 surer; the order of classes stays.

  Args:
    probabilities: float[..., classes].
    temperature: T, positive.
  Returns:
    float64[..., classes].
  """
  logs = np.log(np.maximum(np.asarray(probabilities, np.float64), 1e-300))
  return softmax(logs / temperature)


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
  """The temperature between 1/8 and 8 of least negative log-likelihood.

  Args:
    probabilities: float[n, classes].
    labels: int[n].
  Reference: Guo et al., "On calibration of modern neural networks", ICML 2017.
  """
  from scipy.optimize import minimize_scalar  # here: predicting, which only applies, starts quickly

  def nll(log_temperature):
    return negative_log_likelihood(
      apply_temperature(probabilities, np.exp(log_temperature)), labels
    )

  return float(np.exp(minimize_scalar(nll, bounds=(-np.log(8), np.log(8)), method="bounded").x))


def cross_fitted(
  probabilities: np.ndarray, labels: np.ndarray, groups, folds: int = 5, seed: int = 0
) -> np.ndarray:
  """Probabilities with temperatures that were fitted on other groups' rows.

  Args:
    probabilities: float[n, classes].
    labels: int[n].
    groups: the group (artist) of each row; groups are dealt out whole.
    folds: parts; each gets the temperature of the others.
    seed: of the dealing.
  Returns:
    float64[n, classes].
  """
  names, group = np.unique(np.asarray(groups), return_inverse=True)
  fold = (np.random.default_rng(seed).permutation(len(names)) % min(folds, len(names)))[group]
  out = np.array(probabilities, np.float64)
  for k in np.unique(fold):
    there = fold == k
    if not there.all():
      out[there] = apply_temperature(
        out[there], fit_temperature(probabilities[~there], labels[~there])
      )
  return out


def perfect_calibration_error(
  probabilities: np.ndarray, quantile: float = 0.95, draws: int = 2000, seed: int = 0
) -> float:
  """The calibration error that a perfectly calibrated model stays below at this n.

  Labels are drawn from the probabilities themselves; what error is left is chance.

  Args:
    probabilities: float[n, classes].
    quantile: of the error over the draws.
    draws: how many sets of labels.
    seed: of the draws.
  """
  rng = np.random.default_rng(seed)
  ends = probabilities.cumsum(1)
  ends /= ends[:, -1:]
  errors = [
    expected_calibration_error(
      reliability(probabilities, (rng.random((len(ends), 1)) > ends).sum(1))
    )
    for _ in range(draws)
  ]
  return float(np.quantile(errors, quantile))


def summarize_temperature(tracks: Predictions) -> dict[str, Any]:
  """What a temperature does for tracks: its fit, and figures of cross-fitted probabilities.

  Returns:
    temperature (fitted on all of them, for use elsewhere) and nll, brier, ece after temperatures
    that were fitted on other groups; None where there are fewer than LEAST_TRACKS tracks.
  """
  if len(tracks.labels) < LEAST_TRACKS:
    return {"temperature": None, "nll": None, "brier": None, "ece": None}
  fitted = cross_fitted(tracks.probabilities, tracks.labels, tracks.groups)
  return {
    "temperature": fit_temperature(tracks.probabilities, tracks.labels),
    **calibration_metrics(fitted, tracks.labels),
  }
