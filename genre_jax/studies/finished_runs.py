"""Find the finished runs of a protocol's entries, and what describes them in the results."""

import pathlib
from typing import Any

import numpy as np

from genre_jax.evaluation.run_predictions import (
  read_config_file,
  read_evaluation,
  training_minutes,
)
from genre_jax.studies import mfcc_reference, sweep_runs
from genre_jax.studies.protocols import Entry, entry_folder, members

COMMIT_DIGITS = 10


def finished_runs(
  entry: Entry, data: pathlib.Path, folder: pathlib.Path
) -> list[list[pathlib.Path]]:
  """Return the folders of an entry's finished runs.

  Args:
    entry: An entry of the protocol.
    data: Dataset of the runs.
    folder: Folder of the protocol.

  Returns:
    One list of folders, one for each fold, for each seed of which every fold is finished.
  """
  seeds: dict[str, list[pathlib.Path]] = {}
  place = entry_folder(folder, entry)
  for member in members(entry, data):
    if sweep_runs.read_row(member, place).status == "done":
      seeds.setdefault(member.values["seed"], []).append(place / member.name)
  return [runs for runs in seeds.values() if len(runs) == max(len(entry.folds), 1)]


def describe_runs(entry: Entry, runs: list[list[pathlib.Path]], split: str) -> dict[str, Any]:
  """Return the fields of a result row that do not depend on predictions.

  Args:
    entry: The entry of the row.
    runs: Its runs, as `finished_runs` returns them.
    split: Evaluated split, 'validation' or 'test'.

  Returns:
    entry, experiment, parameters, seeds, minutes (of training, mean over runs), commits (of the
    runs) and runs_available.
  """
  minutes, commits, parameters = [], {}, 0
  for run in (run for folders in runs for run in folders):
    stored, evaluation = read_config_file(run), read_evaluation(run, split)
    dirty = "-dirty" * stored["commit"].endswith("-dirty")
    commits[stored["commit"][:COMMIT_DIGITS] + dirty] = None
    if entry.fields.get("model.name") == mfcc_reference.NAME:
      minutes.append(mfcc_reference.read_training_minutes(run))
    else:
      minutes.append(training_minutes(run, stored["config"]["train"]["batch_size"]))
    parameters = evaluation["parameters"]
  return {
    "entry": entry.name,
    "experiment": entry.experiment,
    "parameters": parameters,
    "seeds": len(runs),
    "minutes": float(np.mean(minutes)),
    "commits": list(commits),
    "runs_available": True,
  }
