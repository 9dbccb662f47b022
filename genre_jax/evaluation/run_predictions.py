"""A run's folder read back: its config and what it answered, for `sweep` and `compare`."""

import csv
import dataclasses
import json
import os
import pathlib
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from genre_jax.errors import UserError
from genre_jax.evaluation.metrics import Predictions
from genre_jax.old_names import modernize

# Fields that may change between a run and its continuation, because no number depends on them.
FREE_FIELDS = (
  "dataset.path",
  "dataset.source",
  "dataset.prepared_dir",
  "dataset.workers",
  "train.report",
  "profile",
)


# How the files of a split begin in a run's folder `eval`.
FILE_STEMS = {"validation": "valid", "test": "test"}


def evaluation_file(folder: pathlib.Path, split: str, content: str = "metrics") -> pathlib.Path:
  """Return the path of a file that an evaluation writes.

  Args:
    folder: the run's folder.
    split: 'validation' or 'test'.
    content: 'metrics' for the JSON file; 'track' or 'segment' for the CSV file of predictions.
  """
  endings = {"metrics": ".json", "track": ".csv", "segment": "_segments.csv"}
  return folder / "eval" / (FILE_STEMS[split] + endings[content])


def read_evaluation(folder: pathlib.Path, split: str) -> dict[str, Any]:
  """Return the metrics of a split; raises OSError or ValueError where there are none."""
  return json.loads(evaluation_file(folder, split).read_text())


def read_config_file(folder: pathlib.Path) -> dict[str, Any]:
  """Return a run's config.json with today's names: config, dataset_id, commit, packages."""
  return modernize(json.loads((folder / "config.json").read_text()))


def identity(config: dict) -> dict[str, Any]:
  """A config of JSON values, flat, without the fields that no number depends on."""
  return {
    name: value for name, value in flatten_dict(config, sep=".").items() if name not in FREE_FIELDS
  }


def read_config(folder: pathlib.Path) -> dict[str, Any]:
  """The `identity` of a run's config; OSError, ValueError or KeyError where there is none."""
  return identity(read_config_file(folder)["config"])


@dataclasses.dataclass(frozen=True)
class Run:
  """One evaluated run.

  Attributes:
    folder: where it is.
    config: {'optimizer.learning_rate': 1e-3, ...}, without what no number depends on.
    split: what says who was asked: name, leaky and the config's split fields.
    classes: genre names.
    tracks, groups, labels: of each track, sorted by track.
    predictions: genre that the run gave each track.
    probabilities: float[tracks, classes], to six digits.
  """

  folder: pathlib.Path
  config: dict[str, Any]
  split: dict[str, Any]
  classes: tuple[str, ...]
  tracks: tuple[str, ...]
  groups: tuple[str, ...]
  labels: tuple[str, ...]
  predictions: tuple[str, ...]
  probabilities: np.ndarray

  @property
  def correct(self) -> np.ndarray:
    """bool[tracks]."""
    return np.array(self.predictions) == np.array(self.labels)

  @property
  def truth(self) -> np.ndarray:
    """int[tracks], the labels as indices of `classes`."""
    return np.array([self.classes.index(label) for label in self.labels])


def read_run(folder: str | os.PathLike, split: str, unit: str = "track") -> Run:
  """Reads one side of a run.

  Args:
    folder: of the run.
    side: 'valid' or 'test'.
    unit: 'track', or 'segment': then `tracks` are numbered segments, as 'disco.00001/3'.

  Raises:
    UserError: if the folder holds no run that was evaluated on this side.
  """
  folder = pathlib.Path(folder)
  try:
    config = read_config(folder)
    report = read_evaluation(folder, split)
    with open(evaluation_file(folder, split, unit), newline="") as file:
      rows = sorted(csv.DictReader(file), key=lambda row: row["track"])
    if unit == "segment":
      _number_segments(rows)
    classes = tuple(report["classes"])
    probabilities = np.array([[float(row[f"p_{name}"]) for name in classes] for row in rows])
    how = {"name": report["split"], "leaky": report["leaky"]}
    how |= {name: value for name, value in config.items() if name.startswith("split.")}
    columns = (
      tuple(row[name] for row in rows) for name in ("track", "group", "label", "prediction")
    )
    run = Run(folder, config, how, classes, *columns, probabilities)
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise UserError(
      f"{folder} holds no evaluated run ({error}): give folders that genre_jax.main"
      " wrote, as runs/tf_split"
    ) from error
  if config["task"] != "single_label":
    raise UserError(
      f"{folder} is of the task {config['task']}, and compare counts tracks with one"
      " genre: put such runs side by side with python -m genre_jax.table"
    )
  if not run.tracks:
    raise UserError(
      f"{folder} has no clip on the {split} side: give --split="
      + ("validation" if split == "test" else "test")
    )
  return run


def read_multi_label(folder: pathlib.Path, split: str) -> tuple[Predictions, dict[str, float]]:
  """What a run of the task multi_label answered about the tracks of a side, and its thresholds."""
  report = read_evaluation(folder, split)
  with open(evaluation_file(folder, split, "track"), newline="") as file:
    rows = sorted(csv.DictReader(file), key=lambda row: row["track"])
  classes = tuple(report["classes"])
  true = [set(row["label"].split(";")) for row in rows]
  return Predictions(
    names=tuple(row["track"] for row in rows),
    groups=tuple(row["group"] for row in rows),
    labels=np.array([[name in held for name in classes] for held in true]),
    probabilities=np.array([[float(row[f"p_{name}"]) for name in classes] for row in rows]),
    classes=classes,
    known=np.array([[f"?{name}" not in held for name in classes] for held in true]),
  ), report["thresholds"]


def pool_folds(runs: list[Run]) -> Run:
  """The runs of one seed, one for each fold, as one run in which every track was asked once."""
  if len(runs) == 1:
    return runs[0]
  order = np.argsort([track for run in runs for track in run.tracks], kind="stable")

  def joined(name):
    values = [value for run in runs for value in getattr(run, name)]
    return tuple(values[i] for i in order)

  pooled = {name: joined(name) for name in ("tracks", "groups", "labels", "predictions")}
  if len(set(pooled["tracks"])) < len(order):
    raise UserError(f"{runs[0].folder.parent}: a track was asked in two folds")
  probabilities = np.concatenate([run.probabilities for run in runs])[order]
  return dataclasses.replace(runs[0], probabilities=probabilities, **pooled)


def _number_segments(rows: list[dict[str, str]]) -> None:
  """Makes names unique: the rows of a track are its segments, in order."""
  counts: dict[str, int] = {}
  for row in rows:
    track = row["track"]
    counts[track] = counts.get(track, -1) + 1
    row["track"] = f"{track}/{counts[track]}"


def training_minutes(folder: pathlib.Path, batch_size: int) -> float:
  """Minutes spent in training steps, their compilation included and validation left out."""
  seconds, before = 0.0, 0
  for line in (folder / "metrics.jsonl").read_text().splitlines():
    figures = json.loads(line)
    seconds += (figures["step"] - before) * batch_size / figures["train/examples_per_second"]
    before = figures["step"]
  return seconds / 60
