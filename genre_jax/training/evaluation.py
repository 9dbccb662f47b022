"""A network asked about one side of a split, and the files that hold its answers."""

import csv
import pathlib

import numpy as np

from genre_jax.data.pipeline import eval_batches
from genre_jax.data.prepared import Prepared
from genre_jax.data.splits import Split
from genre_jax.training import metrics, records, steps


def predict_side(eval_step, variables, prepared: Prepared, split: Split, side: str, mesh, *,
                 batch_size: int, per_track: int) -> metrics.Predictions:
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
  tracks, labels, logits = [], [], []
  for batch in eval_batches(prepared, split, side, batch_size=batch_size, per_track=per_track):
    answer = np.asarray(eval_step(variables, steps.shard_batch(batch, mesh)))
    tracks.append(batch["track_index"][batch["mask"]])
    labels.append(batch["labels"][batch["mask"]].argmax(-1))
    logits.append(answer[batch["mask"]])
  index = np.concatenate(tracks) if tracks else np.zeros(0, int)
  return metrics.Predictions(
    names=tuple(prepared.clips[i].track for i in index),
    groups=tuple(prepared.clips[i].track if side in split.known_groups else prepared.clips[i].group
                 for i in index),
    labels=np.concatenate(labels) if labels else np.zeros(0, int),
    probabilities=metrics.softmax(np.concatenate(logits)) if logits
    else np.zeros((0, len(prepared.classes))),
    classes=prepared.classes)


def write_evaluation(folder: pathlib.Path, predictions: metrics.Predictions, split: Split,
                     side: str, *, seed: int, checkpoint_step: int, parameters: int) -> dict:
  """Writes SIDE.json and SIDE.csv into a run's eval folder, and returns the JSON's content."""
  tracks = predictions.by_track()
  report = {
    "split": split.name, "leaky": split.leaky, "classes": list(predictions.classes), "seed": seed,
    "checkpoint_step": checkpoint_step, "parameters": parameters,
    "segment": metrics.summarize(predictions), "track": metrics.summarize(tracks)}
  folder.mkdir(parents=True, exist_ok=True)
  with open(folder / f"{side}.csv", "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["track", "group", "label", "prediction"]
                    + [f"p_{name}" for name in tracks.classes])
    for name, group, label, row in zip(tracks.names, tracks.groups, tracks.labels,
                                       tracks.probabilities, strict=True):
      writer.writerow([name, group, tracks.classes[label], tracks.classes[row.argmax()]]
                      + [f"{p:.6f}" for p in row])
  records.write_json(folder / f"{side}.json", report)
  return report


