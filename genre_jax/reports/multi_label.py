"""The chapter of a report on one side where a clip may have several labels."""

import pathlib

import numpy as np

from genre_jax.evaluation.metrics import Predictions
from genre_jax.evaluation.multi_label_metrics import METRICS
from genre_jax.evaluation.run_predictions import read_evaluation
from genre_jax.reports.page import html_pictures, html_table

CURVES_SHOWN, TRACKS_LISTED = 12, 20  # curves of the classes that most clips have
TITLES = {
  "roc_auc_macro": "ROC-AUC, macro",
  "roc_auc_micro": "ROC-AUC, micro",
  "pr_auc_macro": "PR-AUC, macro",
  "pr_auc_micro": "PR-AUC, micro",
  "map": "mAP",
  "f1_macro": "F1, macro",
  "f1_micro": "F1, micro",
  "exact_match": "all labels right and complete",
  "top_match": "labels held lead the others",
}


def chapter(split: str, tracks: Predictions, folder: pathlib.Path) -> str:
  """The figures of eval/SIDE.json, each class, its curve, and the tracks that fit worst."""
  from genre_jax.reports import plots

  report = read_evaluation(folder, split)
  units = {unit: report[unit] for unit in ("track", "segment")}
  rows = [
    [TITLES[name], *(_interval(unit[name], unit["ci95"][name]) for unit in units.values())]
    for name in METRICS
  ]
  rows.append(["NLL", *(f"{unit['nll']:.3f}" for unit in units.values())])
  by_class = units["track"]["per_class"]
  none = int((~tracks.labels & tracks.known).all(1).sum())
  frequent = sorted(by_class, key=lambda name: -by_class[name]["n"])[:CURVES_SHOWN]
  curves = {name: _curve(tracks, name, by_class) for name in frequent if by_class[name]["n"]}
  parts = [
    f"<h2>{split.capitalize()} side</h2>",
    "<p>"
    + (
      "Thresholds were chosen on this side, so what hangs on them is flattered. "
      if split == "validation"
      else "Thresholds were chosen on the valid side. "
    )
    + "Intervals draw groups (artists)."
    + (f" {none} tracks hold none of the classes: right where nothing is found." if none else "")
    + "</p>",
    html_table(["figure", *(f"{unit}s, n = {of['n']}" for unit, of in units.items())], rows, 1),
    "<h3>By class, tracks</h3>",
    html_table(
      [
        "class",
        "held",
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
      "<p>Dots are the thresholds.</p>",
      html_pictures(
        [
          (
            plots.precision_recall(curves, "tracks"),
            f"Precision and recall of tracks on the {split} side",
            "",
          )
        ],
        large=True,
      ),
    ]
  return "\n".join([*parts, "<h3>Tracks furthest from the truth</h3>", _furthest(tracks, report)])


def _number(value) -> str:
  return "-" if value is None else f"{value:.3f}"


def _interval(value, bounds) -> str:
  return _number(value) + ("" if bounds[0] is None else f" [{bounds[0]:.3f}, {bounds[1]:.3f}]")


def _curve(tracks: Predictions, name: str, by_class: dict):
  """(recall, precision, place of the threshold) of a class that some clip holds."""
  c = tracks.classes.index(name)
  rows = tracks.known[:, c]
  order = np.argsort(-tracks.probabilities[rows, c], kind="stable")
  hits = np.cumsum(tracks.labels[rows, c][order])
  found = (tracks.probabilities[rows, c] >= by_class[name]["threshold"]).sum()
  return hits / hits[-1], hits / np.arange(1, len(hits) + 1), max(int(found) - 1, 0)


def _furthest(tracks: Predictions, report: dict) -> str:
  """The tracks with the lowest likelihood, and what was found of them."""
  likelihood = np.where(tracks.labels, tracks.probabilities, 1 - tracks.probabilities)
  loss = (-np.log(np.maximum(likelihood, 1e-12)) * tracks.known).sum(1)
  cuts = np.array([report["thresholds"][name] for name in tracks.classes])
  rows = []
  for i in np.argsort(-loss, kind="stable")[:TRACKS_LISTED]:
    true = [name for name, held in zip(tracks.classes, tracks.labels[i], strict=True) if held]
    found = [
      f"{tracks.classes[c]} ({tracks.probabilities[i, c]:.2f})"
      for c in np.flatnonzero(tracks.probabilities[i] >= cuts)
    ]
    rows.append(
      [
        tracks.names[i],
        tracks.groups[i],
        ", ".join(true) or "none",
        ", ".join(found) or "none",
        f"{loss[i]:.2f}",
      ]
    )
  return html_table(["track", "group", "true", "found", "-log likelihood"], rows, 4)
