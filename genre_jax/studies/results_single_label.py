"""Compute the results of a protocol with one label a track: accuracy, differences, calibration.

Seeds of which a fold is missing are left out. `stored_results.py` has the format.
"""

import math
import pathlib
from typing import Any

import numpy as np

from genre_jax.evaluation import calibration, comparison, significance
from genre_jax.evaluation.run_predictions import Run, pool_folds, read_run
from genre_jax.studies.finished_runs import describe_runs, finished_runs
from genre_jax.studies.protocols import Protocol

LEAST = 1e-6  # the last digit of probabilities in eval/*.csv


def compute_results(protocol: Protocol, data: pathlib.Path, folder: pathlib.Path) -> dict[str, Any]:
  """Return the results of a protocol's finished runs.

  Args:
    protocol: The protocol; its entries have one label a track.
    data: Dataset of the runs.
    folder: Folder of the protocol's runs.

  Returns:
    rows, differences, never_correct and calibration (None without enough runs).
  """
  rows, systems = [], {}
  for entry in protocol.entries:
    folders = finished_runs(entry, data, folder)
    if folders:
      seeds = [
        pool_folds([read_run(run, protocol.split, protocol.unit) for run in runs])
        for runs in folders
      ]
      systems[entry.name] = comparison.System(entry.name, tuple(seeds))
      rows.append(describe_runs(entry, folders, protocol.split) | _row_metrics(systems[entry.name]))
  reference = systems.get(protocol.entries[0].name)
  results: dict[str, Any] = {
    "rows": rows,
    "differences": [],
    "never_correct": None,
    "calibration": None,
  }
  if reference is None:
    return results
  tracks = reference.runs[0].tracks
  comparable = [system for system in systems.values() if system.runs[0].tracks == tracks]
  if len(comparable) > 1:
    results["differences"] = _differences(protocol, comparable)
    results["never_correct"] = _never_correct(protocol.unit, comparable)
  if protocol.split == "validation":
    results["calibration"] = _calibration(reference)
  return results


def _row_metrics(system: comparison.System) -> dict[str, Any]:
  """Return n and metrics of a row: accuracy with interval and deviation over seeds, nll."""
  run, correct = system.runs[0], system.correct
  mean, *ends = significance.accuracy_of_seeds(correct, run.groups, run.labels)
  nll = [_nll(run) for run in system.runs]
  return {
    "n": correct.shape[1],
    "metrics": {
      "accuracy": {"value": mean, "ci95": _numbers(ends), "sd": deviation(correct.mean(1))},
      "nll": {"value": float(np.mean(nll))},
    },
  }


def _nll(run: Run) -> float:
  return calibration.negative_log_likelihood(run.probabilities, run.truth, LEAST)


def deviation(values) -> float | None:
  """Return the standard deviation over seeds (of n - 1); None for one seed."""
  return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _numbers(values) -> list[float | None]:
  """Return numbers for JSON, which has no NaN."""
  return [float(value) if math.isfinite(value) else None for value in values]


def _differences(protocol: Protocol, systems: list[comparison.System]) -> list[dict[str, Any]]:
  """Return the paired differences of the first system and every other one, and of further pairs.

  Holm's correction leaves the primary comparisons out.

  Args:
    protocol: Names the further pairs.
    systems: Systems that were evaluated on the same tracks; the first one is the reference.
  """
  by_name = {system.name: system for system in systems}
  first, *others = by_name
  pairs = [*((first, other) for other in others), *protocol.pairs, *protocol.primary]
  pairs = [pair for pair in dict.fromkeys(pairs) if set(pair) <= set(by_name)]
  families = {
    "primary": [pair for pair in pairs if pair in protocol.primary],
    "exploratory": [pair for pair in pairs if pair not in protocol.primary],
  }
  differences = []
  for kind, family in families.items():
    compared = [(by_name[name], by_name[control]) for name, control in family]
    found = comparison.compare(systems, compared) if family else []
    differences += [
      {
        "reference": pair.a,
        "entry": pair.b,
        "metrics": {
          "accuracy": {"value": pair.difference, "ci95": _numbers([pair.low, pair.high])}
        },
        "mcnemar_p": pair.p,
        "holm_p": None if kind == "primary" else pair.p_holm,
        "kind": kind,
        "runs_available": True,
      }
      for pair in found
    ]
  return differences


def _never_correct(unit: str, systems: list[comparison.System]) -> dict[str, Any]:
  """Return the tracks on which no seed of any system is correct.

  Their share bounds the accuracy of any choice among the systems.
  """
  wrong = ~np.any([system.correct.any(0) for system in systems], axis=0)
  run = systems[0].runs[0]
  return {
    "entries": [system.name for system in systems],
    "n": len(wrong),
    "count": int(wrong.sum()),
    "predictions_of": {"entry": systems[0].name, "seed": run.config["seed"]},
    "tracks": {run.tracks[i]: run.predictions[i] for i in np.flatnonzero(wrong)}
    if unit == "track"
    else {},
    "runs_available": True,
  }


def _calibration(system: comparison.System) -> dict[str, Any]:
  """Return calibration before and after a cross-fitted temperature, mean over seeds."""
  before, after, limits, within = [], [], [], 0
  for run in system.runs:
    fitted = calibration.cross_fit_temperatures(run.probabilities, run.truth, run.groups)
    before.append(calibration.calibration_metrics(run.probabilities, run.truth, LEAST))
    after.append(calibration.calibration_metrics(fitted, run.truth, LEAST))
    limits.append(calibration.perfect_calibration_error(fitted))
    within += after[-1]["ece"] <= limits[-1]
  return {
    "entry": system.name,
    "seeds": len(system.runs),
    "n": len(system.runs[0].tracks),
    "uncalibrated": _mean_metrics(before),
    "cross_fitted_temperature": _mean_metrics(after),
    "ece_limit": float(np.mean(limits)),
    "seeds_within_limit": int(within),
    "runs_available": True,
  }


def _mean_metrics(metrics: list[dict[str, float]]) -> dict[str, float]:
  return {name: float(np.mean([each[name] for each in metrics])) for name in metrics[0]}
