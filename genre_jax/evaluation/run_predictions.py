"""Read the folder of a run: its config, metrics and predictions."""

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

# Fields that may change when a run is resumed, because no result depends on them.
FREE_FIELDS = (
  "dataset.path",
  "dataset.source",
  "dataset.prepared_dir",
  "dataset.workers",
  "train.report",
  "profile",
)


# Beginning of the file names of a split in a run's folder `eval`.
FILE_STEMS = {"validation": "valid", "test": "test"}


def evaluation_file(folder: pathlib.Path, split: str, content: str = "metrics") -> pathlib.Path:
  """Return the path of a file that an evaluation writes.

  Args:
    folder: The run's folder.
    split: 'validation' or 'test'.
    content: 'metrics' for the JSON file; 'track' or 'segment' for the CSV file of predictions.
  """
  endings = {"metrics": ".json", "track": ".csv", "segment": "_segments.csv"}
  return folder / "eval" / (FILE_STEMS[split] + endings[content])


def read_evaluation(folder: pathlib.Path, split: str) -> dict[str, Any]:
  """Return the metrics of a split; raise OSError or ValueError if the file is absent or damaged."""
  return json.loads(evaluation_file(folder, split).read_text())


def read_config_file(folder: pathlib.Path) -> dict[str, Any]:
  """Return a run's config.json with current names: config, dataset_id, commit, packages."""
  return modernize(json.loads((folder / "config.json").read_text()))


def identity(config: dict) -> dict[str, Any]:
  """Flatten a config of JSON values, and drop the fields on which no result depends.

  Args:
    config: Nested config, as config.json has it.

  Returns:
    Values by dotted name, such as 'optimizer.learning_rate'.
  """
  return {
    name: value for name, value in flatten_dict(config, sep=".").items() if name not in FREE_FIELDS
  }


def read_config(folder: pathlib.Path) -> dict[str, Any]:
  """Return the `identity` of a run's config.

  Raises:
    OSError, ValueError or KeyError: If config.json is absent or damaged.
  """
  return identity(read_config_file(folder)["config"])


@dataclasses.dataclass(frozen=True)
class Run:
  """One evaluated run of the task single_label.

  Attributes:
    folder: The run's folder.
    config: Its config, as `identity` returns it.
    split_config: Fields that determine the evaluated tracks: name, leaky and the config's split.
    classes: Names of the genres.
    tracks: Names of the tracks, sorted.
    groups: Group of each track.
    labels: True genre of each track.
    predictions: Predicted genre of each track.
    probabilities: float[tracks, classes], to six digits.
  """

  folder: pathlib.Path
  config: dict[str, Any]
  split_config: dict[str, Any]
  classes: tuple[str, ...]
  tracks: tuple[str, ...]
  groups: tuple[str, ...]
  labels: tuple[str, ...]
  predictions: tuple[str, ...]
  probabilities: np.ndarray

  @property
  def correct(self) -> np.ndarray:
    """Return bool[tracks], True where the prediction is correct."""
    return np.array(self.predictions) == np.array(self.labels)

  @property
  def truth(self) -> np.ndarray:
    """Return int[tracks], the labels as indices of `classes`."""
    return np.array([self.classes.index(label) for label in self.labels])


def read_run(folder: str | os.PathLike, split: str, unit: str = "track") -> Run:
  """Read the predictions of a run for one split.

  Args:
    folder: The run's folder.
    split: 'validation' or 'test'.
    unit: 'track', or 'segment', for which `tracks` are numbered segments, as 'disco.00001/3'.

  Raises:
    UserError: If the folder has no run of the task single_label evaluated on this split.
  """
  folder = pathlib.Path(folder)
  try:
    config = read_config(folder)
    report = read_evaluation(folder, split)
    with open(evaluation_file(folder, split, unit), newline="", encoding="utf-8") as file:
      rows = sorted(csv.DictReader(file), key=lambda row: row["track"])
    if unit == "segment":
      _number_segments(rows)
    classes = tuple(report["classes"])
    probabilities = np.array([[float(row[f"p_{name}"]) for name in classes] for row in rows])
    split_config = {"name": report["split"], "leaky": report["leaky"]}
    split_config |= {name: value for name, value in config.items() if name.startswith("split.")}
    tracks, groups, labels, predictions = (
      tuple(row[name] for row in rows) for name in ("track", "group", "label", "prediction")
    )
    run = Run(
      folder,
      config,
      split_config,
      classes,
      tracks,
      groups,
      labels,
      predictions,
      probabilities,
    )
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise UserError(
      f"{folder} contains no evaluated run ({error}): give folders that genre_jax.main"
      " wrote, such as runs/tf_split"
    ) from error
  if config["task"] != "single_label":
    raise UserError(
      f"{folder} has the task {config['task']}, and compare needs one genre per track:"
      " show such runs in one table with python -m genre_jax.table"
    )
  if not run.tracks:
    raise UserError(
      f"{folder} has no track in the {split} split: give --split="
      + ("validation" if split == "test" else "test")
    )
  return run


def read_multi_label(folder: pathlib.Path, split: str) -> tuple[Predictions, dict[str, float]]:
  """Read the track predictions of a run of the task multi_label for one split.

  Args:
    folder: The run's folder.
    split: 'validation' or 'test'.

  Returns:
    The predictions and the threshold of each class.
  """
  report = read_evaluation(folder, split)
  with open(evaluation_file(folder, split, "track"), newline="", encoding="utf-8") as file:
    rows = sorted(csv.DictReader(file), key=lambda row: row["track"])
  classes = tuple(report["classes"])
  true = [set(row["label"].split(";")) for row in rows]
  return Predictions(
    names=tuple(row["track"] for row in rows),
    groups=tuple(row["group"] for row in rows),
    labels=np.array([[name in labels for name in classes] for labels in true]),
    probabilities=np.array([[float(row[f"p_{name}"]) for name in classes] for row in rows]),
    classes=classes,
    known=np.array([[f"?{name}" not in labels for name in classes] for labels in true]),
  ), report["thresholds"]


def pool_folds(runs: list[Run]) -> Run:
  """Join the runs of one seed, one per fold, to one run in which each track occurs once.

  Raises:
    UserError: If a track was evaluated in two folds.
  """
  if len(runs) == 1:
    return runs[0]
  order = np.argsort([track for run in runs for track in run.tracks], kind="stable")

  def joined(name):
    values = [value for run in runs for value in getattr(run, name)]
    return tuple(values[i] for i in order)

  pooled = {name: joined(name) for name in ("tracks", "groups", "labels", "predictions")}
  if len(set(pooled["tracks"])) < len(order):
    raise UserError(f"{runs[0].folder.parent}: a track was evaluated in two folds")
  probabilities = np.concatenate([run.probabilities for run in runs])[order]
  return dataclasses.replace(runs[0], probabilities=probabilities, **pooled)


def _number_segments(rows: list[dict[str, str]]) -> None:
  """Make names unique by numbering each track's rows, which are its segments in order."""
  counts: dict[str, int] = {}
  for row in rows:
    track = row["track"]
    counts[track] = counts.get(track, -1) + 1
    row["track"] = f"{track}/{counts[track]}"


def training_minutes(folder: pathlib.Path, batch_size: int) -> float:
  """Return the minutes spent in training steps, with their compilation and without validation."""
  seconds, before = 0.0, 0
  for line in (folder / "metrics.jsonl").read_text().splitlines():
    metrics = json.loads(line)
    seconds += (metrics["step"] - before) * batch_size / metrics["train/examples_per_second"]
    before = metrics["step"]
  return seconds / 60
