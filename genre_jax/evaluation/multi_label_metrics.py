"""Compute metrics of multi-label predictions: areas under curves, and F1 at thresholds.

It works on the `Predictions` of `metrics.py` with `labels` bool[n, classes] and `known`. Unknown
labels count in no metric. Intervals are a bootstrap over groups.
"""

import warnings
from typing import Any

import numpy as np
import scipy.special

from genre_jax.evaluation.curve_areas import areas
from genre_jax.evaluation.metrics import Predictions, wilson_interval
from genre_jax.evaluation.significance import draw_weights

DRAWS, FEWEST_DRAWS = 1000, 200
# Largest number of products in the bootstrap of one split, and in memory at once.
MOST_WORK, AT_ONCE = 10**9, 4 * 10**6
METRICS = (
  *("roc_auc_macro", "roc_auc_micro", "pr_auc_macro", "pr_auc_micro", "map"),
  *("f1_macro", "f1_micro", "exact_match", "top_match"),
)
SHARES = METRICS[-2:]  # of rows


def _known(p: Predictions) -> np.ndarray:
  """Return where labels are known, bool[n, classes]; ValueError for single_label predictions."""
  if p.known is None:
    raise ValueError("these predictions are of the task single_label")
  return p.known


def choose_thresholds(predictions: Predictions) -> dict[str, float]:
  """Choose the threshold of each class that gives the highest F1.

  A threshold is half way between two probabilities that occur; of equal ones it is the nearest to
  1/2. A class without positive labels gets 1/2. Choose thresholds on the validation split only.

  Args:
    predictions: Multi-label predictions.

  Returns:
    The threshold of each class.
  """
  thresholds = {}
  for c, name in enumerate(predictions.classes):
    rows = _known(predictions)[:, c]
    scores, positive = predictions.probabilities[rows, c], predictions.labels[rows, c]
    thresholds[name] = 0.5
    if not positive.any():
      continue
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(positive[order])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
    between = (scores + np.append(scores[1:], 0.0)) / 2
    possible = np.append(np.diff(scores) != 0, True)
    best = np.flatnonzero(possible & (f1 >= f1[possible].max() - 1e-12))
    thresholds[name] = float(between[best[np.argmin(np.abs(between[best] - 0.5))]])
  return thresholds


def row_weights(groups, draws: int, seed: int = 0) -> tuple[np.ndarray, int]:
  """Draw bootstrap weights of rows by drawing groups.

  A row of several groups gets the product of their weights. Source: Owen, Ann. Appl. Stat. 1 (2007)
  386, "The pigeonhole bootstrap" (rows of two factors).

  Args:
    groups: Group of each row, several joined by ';'.
    draws: Number of draws.
    seed: Seed of the draws.

  Returns:
    float[draws, rows], and the number of groups.
  """
  parts = [group.split(";") for group in groups]
  number = {name: i for i, name in enumerate(sorted({name for part in parts for name in part}))}
  drawn = draw_weights(np.random.default_rng(seed), np.zeros(len(number), int), draws)
  weights = np.ones((draws, len(parts)))
  for i, part in enumerate(parts):
    for name in dict.fromkeys(part):
      weights[:, i] *= drawn[:, number[name]]
  return weights, len(number)


def _metrics(
  p: Predictions, cutoffs: np.ndarray, weights: np.ndarray, lost=np.nan
) -> dict[str, np.ndarray]:
  """Compute each metric, float[draws], and 'per_class', float[4, classes, draws].

  'per_class' has the three areas and F1. If a draw contains no row of a class, macro metrics use
  `lost`, float[4, classes, 1], for the class; NaN leaves it out.
  """

  def areas_of(c):
    rows = _known(p)[:, c]
    return areas(p.probabilities[rows, c], p.labels[rows, c], weights[:, rows])

  by_class = np.stack([areas_of(c) for c in range(len(p.classes))], 1)
  rows, columns = np.nonzero(_known(p))
  micro = areas(p.probabilities[rows, columns], p.labels[rows, columns], weights[:, rows])
  found, positive = p.probabilities >= cutoffs, p.labels
  hits, wrong, missed = (
    weights @ (_known(p) & cell).astype(float)
    for cell in (found & positive, found & ~positive, ~found & positive)
  )  # [draws, classes]
  exact = ((found == positive) | ~_known(p)).all(1)
  lowest_positive = np.where(positive & _known(p), p.probabilities, np.inf).min(1)
  highest_negative = np.where(~positive & _known(p), p.probabilities, -np.inf).max(1)
  with_labels = (positive & _known(p)).any(1) & (~positive & _known(p)).any(1)
  with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)  # the mean of a draw without any class
    f1 = 2 * hits / (2 * hits + wrong + missed)
    per_class = np.concatenate([by_class, f1.T[None]])
    macro = np.nanmean(np.where(np.isnan(per_class), lost, per_class), 1)
    return {
      "roc_auc_macro": macro[0],
      "roc_auc_micro": micro[0],
      "pr_auc_macro": macro[1],
      "pr_auc_micro": micro[1],
      "map": macro[2],
      "f1_macro": macro[3],
      "f1_micro": 2 * hits.sum(1) / (2 * hits + wrong + missed).sum(1),
      "exact_match": weights @ exact / weights.sum(1),
      "top_match": weights
      @ (with_labels & (lowest_positive > highest_negative))
      / (weights @ with_labels),
      "per_class": per_class,
    }


def _interval(
  observed: float, drawn: np.ndarray, groups: int, minimum: float = 0.0, share: bool = False
) -> list[float | None]:
  """Compute the 95 % interval from bootstrap draws, widened for few groups as Student's t.

  Draws are shifted so that their median is the observed value. A draw repeats some artists and
  lacks others, which by itself raises the area under the precision-recall curve and lowers F1 if a
  class has few artists. Draws that are all 0 or all 1 have no variance: a share of rows then gets
  Wilson's interval with the groups as trials, and another metric gets no interval.

  Args:
    observed: The metric of all rows.
    drawn: float[draws], the metric of each draw.
    groups: Number of groups.
    minimum: Smallest possible value; the largest is 1.
    share: True if the metric is a share of rows.

  Returns:
    Lower and upper bound; None if there is no interval.
  """
  drawn = drawn[np.isfinite(drawn)]
  if groups < 2 or not len(drawn) or not np.isfinite(observed):
    return [None, None]
  if minimum == 0 and round(observed, 9) in (0, 1) and np.ptp(drawn) < 1e-9:
    return list(wilson_interval(round(observed, 9), groups)) if share else [None, None]
  tail = scipy.special.ndtr(scipy.special.stdtrit(groups - 1, 0.025))
  ends = np.quantile(drawn - np.median(drawn), [tail, 1 - tail]) + observed
  return [float(x) for x in np.clip(ends, minimum, 1)]


def _drawn(
  p: Predictions, cutoffs: np.ndarray, weights: np.ndarray, observed: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Compute `_metrics` of many weightings, some at a time.

  If a draw contains no row of a class, the class keeps its observed metric, so that macro metrics
  of all draws are means over the same classes. A class of a single artist thus does not vary.
  """
  size = max(1, AT_ONCE // _known(p).size)
  parts = [
    _metrics(p, cutoffs, weights[i : i + size], observed["per_class"])
    for i in range(0, len(weights), size)
  ]
  return {name: np.concatenate([part[name] for part in parts], -1) for name in parts[0]}


class BootstrapMetrics:
  """Metrics of one system, as means over its seeds, with bootstrap intervals.

  Args:
    runs: Predictions of each seed for the same rows, and its thresholds.

  Attributes:
    observed: {name in METRICS: mean over seeds}.
    runs: As given.
  """

  def __init__(self, runs: list[tuple[Predictions, dict[str, float]]]):
    self.runs = runs
    first = runs[0][0]
    weights, self._groups = row_weights(first.groups, DRAWS)
    each = []
    for p, thresholds in runs:
      cutoffs = np.array([thresholds[name] for name in p.classes])
      observed = _metrics(p, cutoffs, np.ones((1, len(p.names))))
      each.append((observed, _drawn(p, cutoffs, weights, observed)))
    self.observed = {
      name: float(np.mean([observed[name] for observed, _ in each])) for name in METRICS
    }
    self._drawn = {name: np.mean([drawn[name] for _, drawn in each], 0) for name in METRICS}

  def interval(self, metric: str) -> list[float | None]:
    """Compute the 95 % interval of a metric over groups; see `_interval`."""
    observed, drawn = self.observed[metric], self._drawn[metric]
    return _interval(observed, drawn, self._groups, share=metric in SHARES)

  def difference(self, other: "BootstrapMetrics", metric: str) -> tuple[float, list[float | None]]:
    """Compute the difference to another system on the same rows, and its 95 % interval."""
    difference = self.observed[metric] - other.observed[metric]
    drawn = self._drawn[metric] - other._drawn[metric]
    return difference, _interval(difference, drawn, self._groups, -1.0)


def format_metric(name: str, value: float | None, ends, sign: str = "") -> str:
  """Format a metric with its interval, as '0.474 [0.401, 0.630]'; shares are in percent.

  Args:
    name: Name of the metric.
    value: Its value; None gives '-'.
    ends: Bounds of its interval, None if there is no interval.
    sign: '+' to show the sign of positive values.
  """
  scale, digits = (100, 1) if name.endswith("match") else (1, 3)
  if value is None:
    return "-"
  text = [format(scale * x, f"{sign}.{digits}f") for x in (value, *ends) if x is not None]
  return text[0] + (f" [{text[1]}, {text[2]}]" if len(text) == 3 else "")


def _number(value) -> float | None:
  return float(value) if np.isfinite(value) else None


def validation_metrics(tracks: Predictions) -> dict[str, float]:
  """Compute macro 'pr_auc' and 'nll' per known label, by which training ranks checkpoints."""
  one = np.ones((1, len(tracks.names)))
  pr_auc = _metrics(tracks, np.full(len(tracks.classes), 0.5), one)["pr_auc_macro"][0]
  return {"pr_auc": float(np.nan_to_num(pr_auc)), "nll": _nll(tracks)}


def _nll(p: Predictions) -> float:
  """Compute the mean binary cross-entropy of the known labels."""
  likelihood = np.where(p.labels, p.probabilities, 1 - p.probabilities)[_known(p)]
  return float(-np.log(np.maximum(likelihood, 1e-12)).mean()) if len(likelihood) else 0.0


def summarize_multi_label(
  p: Predictions, thresholds: dict[str, float], draws: int | None = None
) -> dict[str, Any]:
  """Compute the metrics of segments or tracks, as the JSON files of an evaluation have them.

  Macro metrics are means over the classes that have the metric; map is the macro average precision.
  exact_match is the share of rows whose predicted labels equal the true ones; a row without labels
  matches if none is predicted. top_match is the share, among rows with positive and negative
  labels, in which every positive label has a higher probability than every negative one.

  Args:
    p: Predictions with labels bool[n, classes] and known bool[n, classes].
    thresholds: Threshold of each class.
    draws: Number of bootstrap draws; None for DRAWS, or fewer if there are very many rows.

  Returns:
    n; each of METRICS; ci95 with an interval for each; nll; and per_class with n (positive labels),
    known, roc_auc, pr_auc, pr_auc_ci95, average_precision, precision, recall, f1 and threshold. A
    value is None if its denominator is 0.
  """
  cutoffs = np.array([thresholds[name] for name in p.classes])
  n, k = _known(p).shape
  if not n:
    empty = {"n": 0, "known": 0} | dict.fromkeys(
      ("roc_auc", "pr_auc", "average_precision", "precision", "recall", "f1")
    )
    return {
      "n": 0,
      "nll": None,
      **dict.fromkeys(METRICS),
      "ci95": {name: [None, None] for name in METRICS},
      "per_class": {
        name: {**empty, "pr_auc_ci95": [None, None], "threshold": thresholds[name]}
        for name in p.classes
      },
    }
  observed = _metrics(p, cutoffs, np.ones((1, n)))
  if draws is None:
    draws = int(np.clip(MOST_WORK // (n * k), FEWEST_DRAWS, DRAWS))
  weights, groups = row_weights(p.groups, draws)
  drawn = _drawn(p, cutoffs, weights, observed)
  found, positive = p.probabilities >= cutoffs, p.labels & _known(p)
  per_class = {}
  for c, name in enumerate(p.classes):
    roc, pr, average, f1 = (_number(value) for value in observed["per_class"][:, c, 0])
    hits, n_found = int((found & positive)[:, c].sum()), int((found & _known(p))[:, c].sum())
    n_positive = int(positive[:, c].sum())
    per_class[name] = {
      "n": n_positive,
      "known": int(_known(p)[:, c].sum()),
      "roc_auc": roc,
      "pr_auc": pr,
      "pr_auc_ci95": _interval(observed["per_class"][1, c, 0], drawn["per_class"][1, c], groups),
      "average_precision": average,
      "precision": hits / n_found if n_found else None,
      "recall": hits / n_positive if n_positive else None,
      "f1": f1,
      "threshold": thresholds[name],
    }
  return {
    "n": n,
    "nll": _nll(p),
    **{name: _number(observed[name][0]) for name in METRICS},
    "ci95": {
      name: _interval(observed[name][0], drawn[name], groups, share=name in SHARES)
      for name in METRICS
    },
    "per_class": per_class,
  }
