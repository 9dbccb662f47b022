"""Whether probabilities mean what they say: Brier score, calibration error, reliability.

Stands beside `metrics.py`, on the same `Predictions`.
"""

from typing import Any

import numpy as np

from genre_jax.training.metrics import Predictions

BINS = 10


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
    out.append({"from": float(edges[i]), "to": float(edges[i + 1]), "n": n,
                "confidence": float(confidence[there].mean()) if n else None,
                "accuracy": float(correct[there].mean()) if n else None})
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
  return {"brier": brier_score(predictions.probabilities, predictions.labels),
          "ece": expected_calibration_error(table), "reliability": table}


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
  """Makes probabilities bolder (temperature below 1) or more cautious: p ** (1 / T), normalised.

  The order of the classes stays, and with it the prediction.

  Args:
    probabilities: float[..., classes], rows summing to 1; of a track, the mean of its windows'.
    temperature: above 0; 1 changes nothing.
  Returns:
    float64[..., classes].
  Reference: Guo et al., "On calibration of modern neural networks", ICML 2017.
  """
  logs = np.log(np.maximum(np.asarray(probabilities, np.float64), 1e-300)) / temperature
  odds = np.exp(logs - logs.max(-1, keepdims=True))
  return odds / odds.sum(-1, keepdims=True)
