"""Compute the results of a protocol with several labels a track: precision-recall area, matches.

`results_single_label.py` does it for one label a track. `stored_results.py` has the format.
"""

import math
import pathlib
from typing import Any

import numpy as np

from genre_jax.evaluation.metrics import Predictions
from genre_jax.evaluation.multi_label_metrics import BootstrapMetrics
from genre_jax.evaluation.run_predictions import read_multi_label
from genre_jax.studies.finished_runs import describe_runs, finished_runs
from genre_jax.studies.protocols import Protocol
from genre_jax.studies.results_single_label import deviation

METRICS = ("pr_auc_macro", "exact_match", "top_match")  # names in multi_label_metrics.METRICS


def compute_results(protocol: Protocol, data: pathlib.Path, folder: pathlib.Path) -> dict[str, Any]:
  """Return the results of a protocol's finished runs.

  Args:
    protocol: The protocol; its entries have several labels a track.
    data: Dataset of the runs.
    folder: Folder of the protocol's runs.

  Returns:
    rows, differences and chance (None without runs of the first entry).
  """
  rows, systems = [], {}
  for entry in protocol.entries:
    folders = finished_runs(entry, data, folder)
    if folders:
      systems[entry.name] = BootstrapMetrics(
        [read_multi_label(run, protocol.split) for (run,) in folders]
      )
      rows.append(describe_runs(entry, folders, protocol.split) | _row_metrics(systems[entry.name]))
  reference = protocol.entries[0].name
  first = systems.pop(reference, None)
  differences = [
    {
      "reference": reference,
      "entry": name,
      "metrics": {metric: _difference(first, other, metric) for metric in METRICS},
      "runs_available": True,
    }
    for name, other in systems.items()
    if first
  ]
  return {
    "rows": rows,
    "differences": differences,
    "chance": _chance(first.runs[0][0]) if first else None,
  }


def _row_metrics(system: BootstrapMetrics) -> dict[str, Any]:
  """Return n and metrics of a row, with intervals; the deviation over seeds of the first."""
  metrics = {
    name: {"value": system.observed[name], "ci95": system.interval(name)} for name in METRICS
  }
  each = [BootstrapMetrics([run]).observed[METRICS[0]] for run in system.runs]
  metrics[METRICS[0]]["sd"] = deviation(each)
  return {"n": len(system.runs[0][0].names), "metrics": metrics}


def _difference(first: BootstrapMetrics, other: BootstrapMetrics, metric: str) -> dict[str, Any]:
  value, ends = first.difference(other, metric)
  return {"value": value, "ci95": ends}


def _chance(predictions: Predictions) -> dict[str, Any]:
  """Return what guessing gives: mean prevalence of labels, and the chance of a top match.

  The area under the precision-recall curve of a score without information is the prevalence of its
  label.
  """
  positive = predictions.labels & predictions.known
  present = positive.any(0)
  number = int(np.bincount(positive.sum(1)).argmax())  # labels of a row, as most rows have it
  return {
    "classes": len(present),
    "classes_present": int(present.sum()),
    "labels_per_row": number,
    "pr_auc_macro": float(positive[:, present].mean()),
    "top_match": 1 / math.comb(len(present), number),
    "runs_available": True,
  }
