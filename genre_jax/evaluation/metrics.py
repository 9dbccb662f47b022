"""Compute metrics of single-label predictions: accuracy with an interval, F1 and confusion.

It works on NumPy arrays of probabilities. A track's prediction is the mean of its segments'
probabilities. `softmax` and `sigmoid` turn the logits of a network into probabilities.
"""

import dataclasses
import math
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Predictions:
  """Probabilities of segments or tracks, with their labels.

  Attributes:
    names: Track of each row.
    groups: Group (artist, work, speaker) of each row.
    labels: int[n], index of the true class; for multi_label bool[n, classes].
    probabilities: float64[n, classes].
    classes: Names of the classes.
    known: bool[n, classes], True where the label is known; None for single_label.
  """

  names: tuple[str, ...]
  groups: tuple[str, ...]
  labels: np.ndarray
  probabilities: np.ndarray
  classes: tuple[str, ...]
  known: np.ndarray | None = None

  def by_track(self) -> "Predictions":
    """Average the probabilities of each track's rows; tracks are in order of first appearance."""
    names = tuple(dict.fromkeys(self.names))
    if len(names) == len(self.names):
      return self
    index = {name: i for i, name in enumerate(names)}
    track = np.array([index[name] for name in self.names])
    first = np.array([self.names.index(name) for name in names])
    total = np.zeros((len(names), len(self.classes)))
    np.add.at(total, track, self.probabilities)
    mean = total / np.bincount(track)[:, None]
    return Predictions(
      names,
      tuple(self.groups[i] for i in first),
      self.labels[first],
      mean,
      self.classes,
      None if self.known is None else self.known[first],
    )


def wilson_interval(proportion: float, n: float) -> tuple[float, float]:
  """Compute Wilson's score interval of a proportion, at 95 %.

  Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209.

  Args:
    proportion: The observed proportion.
    n: Number of independent trials, not necessarily an integer.

  Returns:
    Lower and upper bound, within [0, 1].
  """
  z = 1.959964  # normal quantile
  center = (proportion + z * z / (2 * n)) / (1 + z * z / n)
  half = z / (1 + z * z / n) * math.sqrt(proportion * (1 - proportion) / n + z * z / (4 * n * n))
  # At 0 and 1 rounding must not exclude the proportion from its own interval.
  return min(max(0.0, center - half), proportion), max(min(1.0, center + half), proportion)


def accuracy_interval(correct: np.ndarray, groups: tuple[str, ...]) -> tuple[float, float]:
  """Compute the 95 % interval of an accuracy whose trials come in groups.

  Tracks of one artist, and segments of one track, are classified alike, so n of them carry less
  information than n independent trials. This is Wilson's interval with the effective sample size
  p (1 - p) / variance, where the variance of a ratio is estimated between groups. The effective
  size is at most n. It is the number of groups if the variance cannot be estimated: with all
  trials correct, all wrong, or one group.

  Source: Korn and Graubard, Survey Methodology 24 (1998) 193, with Wilson's interval.

  Args:
    correct: bool[n].
    groups: Group of each trial.

  Returns:
    Lower and upper bound.
  """
  correct = np.asarray(correct)
  n = len(correct)
  p = float(correct.mean())
  _, group = np.unique(np.array(groups), return_inverse=True)
  size = np.bincount(group).astype(float)
  count = len(size)
  residual = np.bincount(group, weights=correct) - p * size
  variance = count / max(count - 1, 1) * float(residual @ residual) / n**2
  if not (0 < p < 1 and variance > 1e-12):
    return wilson_interval(p, count)
  # The variance of few groups is itself uncertain: the ratio of Student's quantiles widens it.
  from scipy.special import stdtrit  # slow to import, and prediction does not need it

  few = stdtrit(max(n - 1, 1), 0.975) / stdtrit(max(count - 1, 1), 0.975)
  return wilson_interval(p, min(p * (1 - p) / variance * few**2, n))


def summarize(predictions: Predictions) -> dict[str, Any]:
  """Compute the metrics of segments or tracks, as the JSON files of an evaluation have them.

  Args:
    predictions: Single-label predictions.

  Returns:
    n, accuracy, ci95, macro_f1, nll, confusion[true][predicted] as counts, and per_class with
    precision, recall and n. A metric is None if its denominator is 0. Macro-F1 is the mean over the
    classes that occur among the labels or the predictions, as in scikit-learn.
  """
  classes, k = predictions.classes, len(predictions.classes)
  n = len(predictions.labels)
  if not n:
    return {
      "n": 0,
      "accuracy": None,
      "ci95": [None, None],
      "macro_f1": None,
      "nll": None,
      "confusion": [[0] * k for _ in range(k)],
      "per_class": {name: {"precision": None, "recall": None, "n": 0} for name in classes},
    }
  predicted = predictions.probabilities.argmax(-1)
  correct = predicted == predictions.labels
  confusion = np.zeros((k, k), int)
  np.add.at(confusion, (predictions.labels, predicted), 1)
  hits, positives, found = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
  occurs = positives + found > 0
  likelihood = predictions.probabilities[np.arange(n), predictions.labels]
  return {
    "n": n,
    "accuracy": float(correct.mean()),
    "ci95": list(accuracy_interval(correct, predictions.groups)),
    "macro_f1": float((2 * hits[occurs] / (positives + found)[occurs]).mean()),
    "nll": float(-np.log(np.maximum(likelihood, 1e-12)).mean()),
    "confusion": confusion.tolist(),
    "per_class": {
      name: {
        "precision": float(hits[i] / found[i]) if found[i] else None,
        "recall": float(hits[i] / positives[i]) if positives[i] else None,
        "n": int(positives[i]),
      }
      for i, name in enumerate(classes)
    },
  }


def sigmoid(logits: np.ndarray) -> np.ndarray:
  """Convert logits of labels that do not exclude each other to float64 probabilities."""
  odds = np.exp(-np.abs(logits.astype(np.float64)))
  return np.where(logits >= 0, 1, odds) / (1 + odds)


def softmax(logits: np.ndarray) -> np.ndarray:
  """Convert logits to probabilities, float64[..., classes], that sum to 1 over the last axis."""
  logits = logits.astype(np.float64)
  odds = np.exp(logits - logits.max(-1, keepdims=True))
  return odds / odds.sum(-1, keepdims=True)
