"""Write the chapter of a report on one split of a multi-label task."""

import pathlib

import numpy as np

from genre_jax.evaluation.metrics import Predictions
from genre_jax.evaluation.multi_label_metrics import METRICS
from genre_jax.evaluation.run_predictions import read_evaluation
from genre_jax.reports.page import html_pictures, html_table

CURVES_SHOWN, TRACKS_LISTED = 12, 20  # curves are those of the most frequent classes
TITLES = {
  "roc_auc_macro": "ROC-AUC, macro",
  "roc_auc_micro": "ROC-AUC, micro",
  "pr_auc_macro": "PR-AUC, macro",
  "pr_auc_micro": "PR-AUC, micro",
  "map": "mAP",
  "f1_macro": "F1, macro",
  "f1_micro": "F1, micro",
  "exact_match": "exact match",
  "top_match": "true labels rank first",
}


def chapter(split: str, tracks: Predictions, folder: pathlib.Path) -> str:
  """Return HTML with metrics, classes, curves, and the tracks of lowest likelihood.

  Args:
    split: 'validation' or 'test'.
    tracks: Predictions of its tracks.
    folder: Run folder; the metrics are those of eval/test.json or eval/valid.json.
  """
  from genre_jax.reports import plots

  report = read_evaluation(folder, split)
  units = {unit: report[unit] for unit in ("track", "segment")}
  rows = [
    [TITLES[name], *(_interval(unit[name], unit["ci95"][name]) for unit in units.values())]
    for name in METRICS
  ]
  rows.append(["NLL", *(f"{unit['nll']:.3f}" for unit in units.values())])
  by_class = units["track"]["per_class"]
  unlabeled = int((~tracks.labels & tracks.known).all(1).sum())
  frequent = sorted(by_class, key=lambda name: -by_class[name]["n"])[:CURVES_SHOWN]
  curves = {name: _curve(tracks, name, by_class) for name in frequent if by_class[name]["n"]}
  parts = [
    f"<h2>{split.capitalize()} split</h2>",
    "<p>"
    + (
      "Thresholds were chosen on this split, so metrics that use them are optimistic. "
      if split == "validation"
      else "Thresholds were chosen on the validation split. "
    )
    + "Intervals are a bootstrap over groups (artists). Exact match: the labels above their"
    + " thresholds are exactly the true ones. True labels rank first: every true label has a higher"
    + " probability than every other label."
    + (
      f" {unlabeled} tracks have none of the labels; they count as correct if none is predicted."
      if unlabeled
      else ""
    )
    + "</p>",
    html_table(["metric", *(f"{unit}s, n = {of['n']}" for unit, of in units.items())], rows, 1),
    "<h3>By class, tracks</h3>",
    html_table(
      [
        "class",
        "positive",
        "known",
        "ROC-AUC",
        "PR-AUC [95 %]",
        "precision",
        "recall",
        "F1",
        "threshold",
      ],
      [
        [
          name,
          str(of["n"]),
          str(of["known"]),
          _number(of["roc_auc"]),
          _interval(of["pr_auc"], of["pr_auc_ci95"]),
          *(_number(of[key]) for key in ("precision", "recall", "f1", "threshold")),
        ]
        for name, of in by_class.items()
      ],
      1,
    ),
  ]
  if curves:
    parts += [
      "<p>Dots mark the thresholds.</p>",
      html_pictures(
        [
          (
            plots.precision_recall(curves, "tracks"),
            f"Precision and recall of tracks on the {split} split",
            "",
          )
        ],
        large=True,
      ),
    ]
  return "\n".join(
    [*parts, "<h3>Tracks with the lowest likelihood</h3>", _furthest(tracks, report)]
  )


def _number(value) -> str:
  return "-" if value is None else f"{value:.3f}"


def _interval(value, bounds) -> str:
  return _number(value) + ("" if bounds[0] is None else f" [{bounds[0]:.3f}, {bounds[1]:.3f}]")


def _curve(tracks: Predictions, name: str, by_class: dict):
  """Return (recall, precision, index of the threshold) of a class with a positive track."""
  c = tracks.classes.index(name)
  rows = tracks.known[:, c]
  order = np.argsort(-tracks.probabilities[rows, c], kind="stable")
  hits = np.cumsum(tracks.labels[rows, c][order])
  predicted = (tracks.probabilities[rows, c] >= by_class[name]["threshold"]).sum()
  return hits / hits[-1], hits / np.arange(1, len(hits) + 1), max(int(predicted) - 1, 0)


def _furthest(tracks: Predictions, report: dict) -> str:
  """Return a table of the tracks with the lowest likelihood."""
  likelihood = np.where(tracks.labels, tracks.probabilities, 1 - tracks.probabilities)
  loss = (-np.log(np.maximum(likelihood, 1e-12)) * tracks.known).sum(1)
  thresholds = np.array([report["thresholds"][name] for name in tracks.classes])
  rows = []
  for i in np.argsort(-loss, kind="stable")[:TRACKS_LISTED]:
    true = [name for name, on in zip(tracks.classes, tracks.labels[i], strict=True) if on]
    predicted = [
      f"{tracks.classes[c]} ({tracks.probabilities[i, c]:.2f})"
      for c in np.flatnonzero(tracks.probabilities[i] >= thresholds)
    ]
    rows.append(
      [
        tracks.names[i],
        tracks.groups[i],
        ", ".join(true) or "none",
        ", ".join(predicted) or "none",
        f"{loss[i]:.2f}",
      ]
    )
  return html_table(["track", "group", "true", "predicted", "-log likelihood"], rows, 4)
