"""What is reported of predictions: accuracy with an interval, F1 and confusion.

Works on NumPy arrays of probabilities, after the network. A segment is a window; a track's
prediction is the mean of its segments' probabilities.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import scipy.special
from scipy.special import stdtrit


@dataclasses.dataclass(frozen=True)
class Predictions:
  """Probabilities of things that were classified, segments or tracks.

  Attributes:
    names: the track of each row.
    groups: the group (artist, piece, speaker) of each row.
    labels: int[n], index of the true class; of several labels a clip bool[n, classes].
    probabilities: float64[n, classes].
    classes: names of the classes.
    known: bool[n, classes], which labels are known, None for one label a clip.
  """

  names: tuple[str, ...]
  groups: tuple[str, ...]
  labels: np.ndarray
  probabilities: np.ndarray
  classes: tuple[str, ...]
  known: np.ndarray | None = None

  def by_track(self) -> "Predictions":
    """One row a track, in order of first appearance: the mean of its rows' probabilities."""
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


def wilson_interval(proportion: float, n: float, z: float = 1.959964) -> tuple[float, float]:
  """Wilson's 95 % score interval of a proportion.

  Args:
    proportion: the one seen.
    n: number of independent trials, not necessarily whole.
    z: normal quantile.
  Reference: Wilson, J. Am. Stat. Assoc. 22 (1927) 209.
  """
  center = (proportion + z * z / (2 * n)) / (1 + z * z / n)
  half = z / (1 + z * z / n) * math.sqrt(proportion * (1 - proportion) / n + z * z / (4 * n * n))
  # Rounding must not put the interval beside its own center at 0 and 1.
  return min(max(0.0, center - half), proportion), max(min(1.0, center + half), proportion)


def accuracy_interval(correct: np.ndarray, groups: tuple[str, ...]) -> tuple[float, float]:
  """95 % interval of an accuracy whose trials come in groups.

  Songs of one artist, and windows of one song, are right or wrong together, so n of them tell less
  than n independent ones. Wilson's interval is taken at the effective sample size
  p (1 - p) / variance, with the variance of a ratio estimated between groups; at most n, and the
  number of groups where no variance can be seen (all right, all wrong, or one group).

  Args:
    correct: bool[n].
    groups: the group of each trial.
  Returns:
    Lower and upper bound.
  Reference: Korn and Graubard, Survey Methodology 24 (1998) 193, with Wilson's interval.
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
  # A variance of few groups is itself uncertain: the ratio of Student's quantiles pays for it.
  few = stdtrit(max(n - 1, 1), 0.975) / stdtrit(max(count - 1, 1), 0.975)
  return wilson_interval(p, min(p * (1 - p) / variance * few**2, n))


def summarize(predictions: Predictions) -> dict[str, Any]:
  """The figures of one unit, segments or tracks, as they stand in eval/*.json.

  Returns:
    n, accuracy, ci95, macro_f1, nll, confusion[true][predicted] as counts, and per_class with
    precision, recall and n; figures are None where there is nothing to divide by. Macro-F1 is the
    mean over classes that occur in truth or prediction, as scikit-learn has it.
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
  hits, true, guessed = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
  occurs = true + guessed > 0
  likelihood = predictions.probabilities[np.arange(n), predictions.labels]
  return {
    "n": n,
    "accuracy": float(correct.mean()),
    "ci95": list(accuracy_interval(correct, predictions.groups)),
    "macro_f1": float((2 * hits[occurs] / (true + guessed)[occurs]).mean()),
    "nll": float(-np.log(np.maximum(likelihood, 1e-12)).mean()),
    "confusion": confusion.tolist(),
    "per_class": {
      name: {
        "precision": float(hits[i] / guessed[i]) if guessed[i] else None,
        "recall": float(hits[i] / true[i]) if true[i] else None,
        "n": int(true[i]),
      }
      for i, name in enumerate(classes)
    },
  }


def sigmoid(logits: np.ndarray) -> np.ndarray:
  """Probabilities, float64, of logits of labels that do not exclude each other."""
  return scipy.special.expit(logits.astype(np.float64))


def softmax(logits: np.ndarray) -> np.ndarray:
  """Probabilities, float64[..., classes], of logits."""
  logits = logits.astype(np.float64)
  odds = np.exp(logits - logits.max(-1, keepdims=True))
  return odds / odds.sum(-1, keepdims=True)
