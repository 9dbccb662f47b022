"""A network asked about one side of a split, and the files that hold its answers."""

import csv
import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from genre_jax.data.pipeline import eval_batches
from genre_jax.data.prepared import Prepared
from genre_jax.data.splits import SplitAssignment
from genre_jax.errors import UserError
from genre_jax.evaluation import metrics, multi_label_metrics
from genre_jax.evaluation.calibration import summarize_temperature
from genre_jax.evaluation.run_predictions import evaluation_file
from genre_jax.files import write_json
from genre_jax.training import checkpoints, steps
from genre_jax.training.setup import Experiment


def predict_split(
  eval_step,
  variables,
  prepared: Prepared,
  assignment: SplitAssignment,
  split: str,
  mesh,
  *,
  batch_size: int,
  per_track: int,
) -> metrics.Predictions:
  """Probabilities of every window of one side.

  Args:
    eval_step: from `steps.make_eval_step`.
    variables: parameters and batch statistics.
    prepared: the clips.
    split: who is on which side.
    side: 'train', 'valid' or 'test'.
    mesh: devices.
    batch_size: windows of a batch.
    per_track: evenly spaced windows of a clip; 0 for as many as fit side by side.
  """
  batch_size = -(-batch_size // mesh.size) * mesh.size
  several = prepared.task == "multi_label"
  tracks, labels, known, logits = [], [], [], []
  for batch in eval_batches(
    prepared, assignment, split, batch_size=batch_size, per_track=per_track
  ):
    prediction = np.asarray(eval_step(variables, steps.shard_batch(batch, mesh)))
    tracks.append(batch["track_index"][batch["mask"]])
    labels.append(batch["labels"][batch["mask"]])
    known.append(batch["label_mask"][batch["mask"]] > 0.5)
    logits.append(prediction[batch["mask"]])
  empty = [np.zeros((0, len(prepared.classes)))]
  index = np.concatenate(tracks) if tracks else np.zeros(0, int)
  labels, logits = np.concatenate(labels or empty), np.concatenate(logits or empty)
  return metrics.Predictions(
    names=tuple(prepared.clips[i].track for i in index),
    groups=tuple(
      prepared.clips[i].track if split in assignment.known_groups else prepared.clips[i].group
      for i in index
    ),
    labels=labels > 0.5 if several else labels.argmax(-1),
    probabilities=metrics.sigmoid(logits) if several else metrics.softmax(logits),
    classes=prepared.classes,
    known=np.concatenate(known or empty).astype(bool) if several else None,
  )


def validation_metrics(tracks: metrics.Predictions) -> dict[str, float] | None:
  """What training shows of the valid tracks and ranks checkpoints by; None where there are none."""
  if not tracks.names:
    return None
  if tracks.known is not None:
    return multi_label_metrics.validation_metrics(tracks)
  figures = metrics.summarize(tracks)
  return {name: figures[name] for name in ("accuracy", "nll")}


def write_evaluation(
  folder: pathlib.Path,
  predictions: metrics.Predictions,
  assignment: SplitAssignment,
  split: str,
  *,
  seed: int,
  checkpoint_step: int,
  parameters: int,
  thresholds: dict[str, float] | None = None,
) -> dict:
  """Writes a side's files into a run's eval folder.

  SIDE.json holds the figures, SIDE.csv a row for each track, SIDE_segments.csv one for each window;
  there several labels of a clip are joined by ';', and those that nobody knows begin with '?'.

  Args:
    folder: the eval folder.
    predictions: of windows.
    split, side: who was asked.
    seed, checkpoint_step, parameters: of the network, for the JSON.
    thresholds: of each class, where a clip may have several labels.
  Returns:
    The JSON's content.
  """
  tracks = predictions.by_track()
  if thresholds is None:
    figures = {
      "segment": metrics.summarize(predictions),
      "track": metrics.summarize(tracks),
      "temperature": summarize_temperature(tracks),
    }
  else:
    figures = {"thresholds": thresholds} | {
      unit: multi_label_metrics.summarize_multi_label(predictions, thresholds)
      for unit, predictions in (("segment", predictions), ("track", tracks))
    }
  report = {
    "task": "single_label" if thresholds is None else "multi_label",
    "split": assignment.name,
    "leaky": assignment.leaky,
    "classes": list(predictions.classes),
    "seed": seed,
    "checkpoint_step": checkpoint_step,
    "parameters": parameters,
    **figures,
  }
  (folder / "eval").mkdir(parents=True, exist_ok=True)
  _write_rows(evaluation_file(folder, split, "track"), tracks, thresholds)
  _write_rows(evaluation_file(folder, split, "segment"), predictions, thresholds)
  write_json(evaluation_file(folder, split), report)
  return report


def _write_rows(path: pathlib.Path, predictions: metrics.Predictions, thresholds) -> None:
  """One row for each thing that was asked: track, group, label, prediction, probabilities."""
  with open(path, "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(
      ["track", "group", "label", "prediction"] + [f"p_{name}" for name in predictions.classes]
    )
    for i, (name, group, row) in enumerate(
      zip(predictions.names, predictions.groups, predictions.probabilities, strict=True)
    ):
      writer.writerow(
        [name, group, *_label_cells(predictions, i, thresholds)] + [f"{p:.6f}" for p in row]
      )


def _label_cells(tracks: metrics.Predictions, i: int, thresholds) -> tuple[str, str]:
  """What is true and what was found of a track, as the CSV has it."""
  classes, row = tracks.classes, tracks.probabilities[i]
  if thresholds is None:
    return classes[tracks.labels[i]], classes[row.argmax()]
  true = [
    name if known else f"?{name}"
    for name, held, known in zip(classes, tracks.labels[i], tracks.known[i], strict=True)
    if held or not known
  ]
  found = [name for name, p in zip(classes, row, strict=True) if p >= thresholds[name]]
  return ";".join(true), ";".join(found)


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Results of `evaluate`, and what drew them.

  Attributes:
    reports: {split: content of eval/SPLIT.json}.
    predictions: {split: predictions of its segments}.
    state: the checkpoint that was evaluated.
    eval_step: from `steps.make_eval_step`.
  """

  reports: dict[str, dict]
  predictions: dict[str, metrics.Predictions]
  state: steps.TrainState
  eval_step: Callable


def evaluate(experiment: Experiment, folder: pathlib.Path, mesh, checkpoint: str) -> Evaluation:
  """Evaluates a checkpoint on the valid and the test side, and writes eval/."""
  config = experiment.config
  path = _checkpoint_folder(folder, checkpoint, config.train.best_metric)
  stored, mine = checkpoints.metadata(path), experiment.metadata()
  for name in ("frontend", "classes", "task", "model", "normalization"):
    if stored[name] != mine[name]:
      raise UserError(f"the checkpoint {path} has {name} {stored[name]}, this config {mine[name]}")
  if stored["dataset_id"] == mine["dataset_id"] and stored["split"] != mine["split"]:
    raise UserError(
      f"the checkpoint {path} was trained on another split of these clips"
      f" ({stored['split']}): some that would be asked now are known to it"
    )
  state = checkpoints.load(path, steps.replicate(experiment.new_state(), mesh))
  eval_step = steps.make_eval_step(experiment.model)
  predictions = {
    split: predict_split(
      eval_step,
      state.variables(),
      experiment.prepared,
      experiment.assignment,
      split,
      mesh,
      batch_size=config.train.batch_size,
      per_track=config.segments.eval_per_track,
    )
    for split in ("validation", "test")
  }
  thresholds = None
  if config.task == "multi_label":  # a checkpoint of an interrupted run has none
    thresholds = stored.get("thresholds") or multi_label_metrics.choose_thresholds(
      predictions["validation"].by_track()
    )
  reports = {}
  for split in predictions:
    reports[split] = write_evaluation(
      folder,
      predictions[split],
      experiment.assignment,
      split,
      seed=stored["seed"],
      checkpoint_step=int(state.step),
      parameters=experiment.parameters(),
      thresholds=thresholds,
    )
    print(_one_line(split, reports[split]))
  print(f"results   {folder / 'eval'}, checkpoint {path}")
  return Evaluation(reports, predictions, state, eval_step)


def _checkpoint_folder(folder: pathlib.Path, checkpoint: str, metric: str) -> pathlib.Path:
  """The folder that --checkpoint means."""
  if checkpoint not in ("best", "last"):
    return checkpoints.locate(checkpoint, metric)
  best = checkpoints.locate(str(folder), metric)
  if checkpoint == "best":
    return best
  return best.with_name(str(max(int(p.name) for p in best.parent.iterdir() if p.name.isdigit())))


def _one_line(split: str, report: dict) -> str:
  """The figures of a side as one line."""
  parts = []
  for unit in ("segment", "track"):
    figures = report[unit]
    if not figures["n"]:
      return f"{split:9} no clips"
    if report["task"] == "multi_label":
      parts.append(
        f"{unit}s n={figures['n']}: "
        + ", ".join(
          name.replace("_", " ").replace("match", "match %")
          + " "
          + multi_label_metrics.as_text(name, figures[name], figures["ci95"][name])
          for name in ("pr_auc_macro", "roc_auc_macro", "f1_macro", "exact_match", "top_match")
        )
      )
      continue
    low, high = figures["ci95"]
    parts.append(
      f"{unit} accuracy {100 * figures['accuracy']:.2f} % "
      f"[{100 * low:.1f}, {100 * high:.1f}] n={figures['n']}"
    )
  return f"{split:9} " + "; ".join(parts) + ("  LEAKY SPLIT" if report["leaky"] else "")
