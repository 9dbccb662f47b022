"""Compute areas under ROC and precision-recall curves."""

import numpy as np


def areas(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """Compute the areas under the curves of one class, for several weightings of its rows.

  The results equal scikit-learn's roc_auc_score, auc(recall, precision) and
  average_precision_score.

  Args:
    scores: float[n].
    positive: bool[n].
    weights: float[draws, n], not negative.

  Returns:
    float[3, draws]: the area under the ROC curve, the area under the precision-recall curve by
    trapezoids, and the same by steps (average precision). NaN if only positive or only negative
    rows have weight.
  """
  order = np.argsort(-scores, kind="stable")
  sorted_scores = scores[order]
  last = np.flatnonzero(np.append(np.diff(sorted_scores) != 0, True))  # of each distinct score
  weights, positive = weights[:, order], positive[order]
  hits = np.cumsum(weights * positive, 1)[:, last]
  misses = np.cumsum(weights * ~positive, 1)[:, last]
  zero = np.zeros((len(weights), 1))
  with np.errstate(invalid="ignore", divide="ignore"):
    recall = np.hstack([zero, hits / hits[:, -1:]])
    fall_out = np.hstack([zero, misses / misses[:, -1:]])
    found = hits + misses
    precision = np.where(found > 0, hits / found, 1.0)
  precision_before = np.hstack([zero + 1, precision[:, :-1]])
  step = np.diff(recall, axis=1)
  return np.stack(
    [
      (np.diff(fall_out, axis=1) * (recall[:, 1:] + recall[:, :-1]) / 2).sum(1),
      (step * (precision + precision_before) / 2).sum(1) + 0 * fall_out[:, -1],
      (step * precision).sum(1) + 0 * fall_out[:, -1],
    ]
  )
