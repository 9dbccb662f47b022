"""A network asked about one side of a split, and the files that hold its answers."""

import csv
import pathlib

import numpy as np

from genre_jax.data.pipeline import eval_batches
from genre_jax.data.prepared import Prepared
from genre_jax.data.splits import Split
from genre_jax.training import metrics, multi_label_metrics, records, steps
from genre_jax.training.calibration import summarize_temperature


def predict_side(
  eval_step,
  variables,
  prepared: Prepared,
  split: Split,
  side: str,
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
  for batch in eval_batches(prepared, split, side, batch_size=batch_size, per_track=per_track):
    answer = np.asarray(eval_step(variables, steps.shard_batch(batch, mesh)))
    tracks.append(batch["track_index"][batch["mask"]])
    labels.append(batch["labels"][batch["mask"]])
    known.append(batch["label_mask"][batch["mask"]] > 0.5)
    logits.append(answer[batch["mask"]])
  empty = [np.zeros((0, len(prepared.classes)))]
  index = np.concatenate(tracks) if tracks else np.zeros(0, int)
  labels, logits = np.concatenate(labels or empty), np.concatenate(logits or empty)
  return metrics.Predictions(
    names=tuple(prepared.clips[i].track for i in index),
    groups=tuple(
      prepared.clips[i].track if side in split.known_groups else prepared.clips[i].group
      for i in index
    ),
    labels=labels > 0.5 if several else labels.argmax(-1),
    probabilities=metrics.sigmoid(logits) if several else metrics.softmax(logits),
    classes=prepared.classes,
    known=np.concatenate(known or empty).astype(bool) if several else None,
  )


def validation_figures(tracks: metrics.Predictions) -> dict[str, float] | None:
  """What training shows of the valid tracks and ranks checkpoints by; None where there are none."""
  if not tracks.names:
    return None
  if tracks.known is not None:
    return multi_label_metrics.validation_figures(tracks)
  figures = metrics.summarize(tracks)
  return {name: figures[name] for name in ("accuracy", "nll")}


def write_evaluation(
  folder: pathlib.Path,
  predictions: metrics.Predictions,
  split: Split,
  side: str,
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
      unit: multi_label_metrics.summarize_multi_label(answers, thresholds)
      for unit, answers in (("segment", predictions), ("track", tracks))
    }
  report = {
    "task": "single_label" if thresholds is None else "multi_label",
    "split": split.name,
    "leaky": split.leaky,
    "classes": list(predictions.classes),
    "seed": seed,
    "checkpoint_step": checkpoint_step,
    "parameters": parameters,
    **figures,
  }
  folder.mkdir(parents=True, exist_ok=True)
  _write_rows(folder / f"{side}.csv", tracks, thresholds)
  _write_rows(folder / f"{side}_segments.csv", predictions, thresholds)
  records.write_json(folder / f"{side}.json", report)
  return report


def _write_rows(path: pathlib.Path, answers: metrics.Predictions, thresholds) -> None:
  """One row for each thing that was asked: track, group, label, prediction, probabilities."""
  with open(path, "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(
      ["track", "group", "label", "prediction"] + [f"p_{name}" for name in answers.classes]
    )
    for i, (name, group, row) in enumerate(
      zip(answers.names, answers.groups, answers.probabilities, strict=True)
    ):
      writer.writerow(
        [name, group, *_label_cells(answers, i, thresholds)] + [f"{p:.6f}" for p in row]
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
