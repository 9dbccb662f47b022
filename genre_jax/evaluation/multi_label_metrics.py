"""What is reported of predictions of several labels a clip: areas under curves, F1 at thresholds.

Stands beside `metrics.py`, on its `Predictions` with `labels` bool[n, classes] and `known`. A label
that nobody knows counts nowhere. Intervals are a bootstrap over groups.
"""

import warnings
from typing import Any

import numpy as np
import scipy.special

from genre_jax.evaluation.metrics import Predictions, wilson_interval
from genre_jax.evaluation.significance import draw_weights

DRAWS, FEWEST_DRAWS = 1000, 200
# Numbers that the bootstrap of one side may touch, and hold at once: bounds time and memory.
MOST_WORK, AT_ONCE = 10**9, 4 * 10**6
METRICS = (
  "roc_auc_macro",
  "roc_auc_micro",
  "pr_auc_macro",
  "pr_auc_micro",
  "map",
  "f1_macro",
  "f1_micro",
  "exact_match",
  "top_match",
)
SHARES = METRICS[-2:]  # of rows


def areas(scores: np.ndarray, held: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """Areas under the curves of one class, for several weightings of its rows.

  Args:
    scores: float[n].
    held: bool[n].
    weights: float[draws, n], not negative.
  Returns:
    float[3, draws]: under the ROC curve; under the precision-recall curve by trapezoids; average
    precision, the same by steps. NaN where only one kind of row has weight. Equal to scikit-learn's
    roc_auc_score, auc(recall, precision) and average_precision_score.
  """
  order = np.argsort(-scores, kind="stable")
  sorted_scores = scores[order]
  last = np.flatnonzero(np.append(np.diff(sorted_scores) != 0, True))  # of each distinct score
  weights, held = weights[:, order], held[order]
  hits = np.cumsum(weights * held, 1)[:, last]
  misses = np.cumsum(weights * ~held, 1)[:, last]
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


def choose_thresholds(predictions: Predictions) -> dict[str, float]:
  """For each class the threshold on its probability that gives the highest F1.

  Half way between two probabilities that occur; of equals the nearest to 1/2, which a class without
  labels gets as well. On few clips thresholds are noisy: take them from the valid side alone.
  """
  thresholds = {}
  for c, name in enumerate(predictions.classes):
    rows = predictions.known[:, c]
    scores, held = predictions.probabilities[rows, c], predictions.labels[rows, c]
    thresholds[name] = 0.5
    if not held.any():
      continue
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(held[order])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
    between = (scores + np.append(scores[1:], 0.0)) / 2
    possible = np.append(np.diff(scores) != 0, True)
    best = np.flatnonzero(possible & (f1 >= f1[possible].max() - 1e-12))
    thresholds[name] = float(between[best[np.argmin(np.abs(between[best] - 0.5))]])
  return thresholds


def row_weights(groups, draws: int, seed: int = 0) -> tuple[np.ndarray, int]:
  """Bootstrap weights of rows: groups are drawn, and a row of several groups has their product.

  Args:
    groups: of each row, several joined by ';'.
    draws: how many.
    seed: of the draws.
  Returns:
    float[draws, rows], and the number of groups.
  Reference: Owen, Ann. Appl. Stat. 1 (2007) 386, "The pigeonhole bootstrap" (rows of two factors).
  """
  parts = [group.split(";") for group in groups]
  number = {name: i for i, name in enumerate(sorted({name for part in parts for name in part}))}
  drawn = draw_weights(np.random.default_rng(seed), np.zeros(len(number), int), draws)
  weights = np.ones((draws, len(parts)))
  for i, part in enumerate(parts):
    for name in dict.fromkeys(part):
      weights[:, i] *= drawn[:, number[name]]
  return weights, len(number)


def _figures(
  p: Predictions, cuts: np.ndarray, weights: np.ndarray, lost=np.nan
) -> dict[str, np.ndarray]:
  """Each figure, float[draws], and 'per_class', float[4, classes, draws]: areas and F1.

  Macro figures take `lost`, float[4, classes, 1], for a class that a draw loses; NaN leaves it out.
  """

  def areas_of(c):
    rows = p.known[:, c]
    return areas(p.probabilities[rows, c], p.labels[rows, c], weights[:, rows])

  by_class = np.stack([areas_of(c) for c in range(len(p.classes))], 1)
  rows, columns = np.nonzero(p.known)
  micro = areas(p.probabilities[rows, columns], p.labels[rows, columns], weights[:, rows])
  found, held = p.probabilities >= cuts, p.labels
  hits, wrong, missed = (
    weights @ (p.known & cell).astype(float)
    for cell in (found & held, found & ~held, ~found & held)
  )  # [draws, classes]
  exact = ((found == held) | ~p.known).all(1)
  lowest_held = np.where(held & p.known, p.probabilities, np.inf).min(1)
  highest_other = np.where(~held & p.known, p.probabilities, -np.inf).max(1)
  with_labels = (held & p.known).any(1) & (~held & p.known).any(1)
  with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)  # a draw without any class has no mean
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
      @ (with_labels & (lowest_held > highest_other))
      / (weights @ with_labels),
      "per_class": per_class,
    }


def _interval(
  seen: float, drawn: np.ndarray, groups: int, least: float = 0.0, share: bool = False
) -> list[float | None]:
  """95 % of bootstrap draws, widened for few groups as Student's t is, within `least` and 1.

  Draws are moved so that their median is the figure seen. A draw repeats some artists and misses
  others, which by itself raises the area under precision and recall and lowers F1, much where a
  class has few artists. Draws that are all 0 or all 1 have no spread to see: a share of rows then
  gets Wilson's interval with the groups as trials, another figure none.
  """
  drawn = drawn[np.isfinite(drawn)]
  if groups < 2 or not len(drawn) or not np.isfinite(seen):
    return [None, None]
  if least == 0 and round(seen, 9) in (0, 1) and np.ptp(drawn) < 1e-9:
    return list(wilson_interval(round(seen, 9), groups)) if share else [None, None]
  tail = scipy.special.ndtr(scipy.special.stdtrit(groups - 1, 0.025))
  ends = np.quantile(drawn - np.median(drawn), [tail, 1 - tail]) + seen
  return [float(x) for x in np.clip(ends, least, 1)]


def _drawn(
  p: Predictions, cuts: np.ndarray, weights: np.ndarray, seen: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """`_figures` of many weightings, some at a time.

  A class that a draw loses keeps the figure that is `seen`, so that macro figures of all draws are
  means over the same classes. A class of a single artist hence does not vary at all.
  """
  size = max(1, AT_ONCE // p.known.size)
  parts = [
    _figures(p, cuts, weights[i : i + size], seen["per_class"])
    for i in range(0, len(weights), size)
  ]
  return {name: np.concatenate([part[name] for part in parts], -1) for name in parts[0]}


class BootstrapMetrics:
  """What one system's seeds answered about the same rows, with figures that are means over them.

  Args:
    runs: Predictions of each seed, and its thresholds.

  Attributes:
    seen: {figure of FIGURES: mean over seeds}.
    runs: as given.
  """

  def __init__(self, runs: list[tuple[Predictions, dict[str, float]]]):
    self.runs = runs
    first = runs[0][0]
    weights, self._groups = row_weights(first.groups, DRAWS)
    each = []
    for p, thresholds in runs:
      cuts = np.array([thresholds[name] for name in p.classes])
      seen = _figures(p, cuts, np.ones((1, len(p.names))))
      each.append((seen, _drawn(p, cuts, weights, seen)))
    self.seen = {name: float(np.mean([seen[name] for seen, _ in each])) for name in METRICS}
    self._drawn = {name: np.mean([drawn[name] for _, drawn in each], 0) for name in METRICS}

  def interval(self, figure: str) -> list[float | None]:
    """95 % over groups."""
    return _interval(self.seen[figure], self._drawn[figure], self._groups, share=figure in SHARES)

  def minus(self, other: "BootstrapMetrics", figure: str) -> tuple[float, list[float | None]]:
    """Difference to a system that was asked about the same rows, and 95 % over groups."""
    difference = self.seen[figure] - other.seen[figure]
    drawn = self._drawn[figure] - other._drawn[figure]
    return difference, _interval(difference, drawn, self._groups, -1.0)


def as_text(name: str, value: float | None, ends, sign: str = "") -> str:
  """A figure with its interval as '0.474 [0.401, 0.630]', shares in percent; '-' where none is."""
  scale, digits = (100, 1) if name.endswith("match") else (1, 3)
  if value is None:
    return "-"
  text = [format(scale * x, f"{sign}.{digits}f") for x in (value, *ends) if x is not None]
  return text[0] + (f" [{text[1]}, {text[2]}]" if len(text) == 3 else "")


def _number(value) -> float | None:
  return float(value) if np.isfinite(value) else None


def validation_metrics(tracks: Predictions) -> dict[str, float]:
  """What training shows and ranks checkpoints by: 'pr_auc', macro, and 'nll' of a known label."""
  one = np.ones((1, len(tracks.names)))
  pr_auc = _figures(tracks, np.full(len(tracks.classes), 0.5), one)["pr_auc_macro"][0]
  return {"pr_auc": float(np.nan_to_num(pr_auc)), "nll": _nll(tracks)}


def _nll(p: Predictions) -> float:
  """Mean binary cross-entropy of the known labels."""
  likelihood = np.where(p.labels, p.probabilities, 1 - p.probabilities)[p.known]
  return float(-np.log(np.maximum(likelihood, 1e-12)).mean()) if len(likelihood) else 0.0


def summarize_multi_label(
  p: Predictions, thresholds: dict[str, float], draws: int | None = None
) -> dict[str, Any]:
  """The figures of one unit, segments or tracks, as they stand in eval/*.json.

  Args:
    p: labels bool[n, classes] and known bool[n, classes].
    thresholds: of each class.
    draws: of the bootstrap; None: DRAWS, fewer where there are very many rows.
  Returns:
    n; each of FIGURES; ci95 with an interval for each; nll; per_class with n (labels held), known,
    roc_auc, pr_auc, pr_auc_ci95, average_precision, precision, recall, f1 and threshold. None
    where there is nothing to divide by. Macro figures are means over the classes that have one;
    map is the macro average precision. exact_match is the share of rows whose labels above the
    thresholds are all right and complete, of one that holds nothing that nothing was found;
    top_match of those that hold some labels and not all: whether those held lead the others.
  """
  cuts = np.array([thresholds[name] for name in p.classes])
  n, k = p.known.shape
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
  seen = _figures(p, cuts, np.ones((1, n)))
  if draws is None:
    draws = int(np.clip(MOST_WORK // (n * k), FEWEST_DRAWS, DRAWS))
  weights, groups = row_weights(p.groups, draws)
  drawn = _drawn(p, cuts, weights, seen)
  found, held = p.probabilities >= cuts, p.labels & p.known
  per_class = {}
  for c, name in enumerate(p.classes):
    roc, pr, average, f1 = (_number(value) for value in seen["per_class"][:, c, 0])
    hits, guessed = int((found & held)[:, c].sum()), int((found & p.known)[:, c].sum())
    n_held = int(held[:, c].sum())
    per_class[name] = {
      "n": n_held,
      "known": int(p.known[:, c].sum()),
      "roc_auc": roc,
      "pr_auc": pr,
      "pr_auc_ci95": _interval(seen["per_class"][1, c, 0], drawn["per_class"][1, c], groups),
      "average_precision": average,
      "precision": hits / guessed if guessed else None,
      "recall": hits / n_held if n_held else None,
      "f1": f1,
      "threshold": thresholds[name],
    }
  return {
    "n": n,
    "nll": _nll(p),
    **{name: _number(seen[name][0]) for name in METRICS},
    "ci95": {
      name: _interval(seen[name][0], drawn[name], groups, share=name in SHARES) for name in METRICS
    },
    "per_class": per_class,
  }
