"""Evaluate a checkpoint on the validation and test splits, and write metrics and predictions."""

import csv
import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from genre_jax.data.pipeline import EvalBatches
from genre_jax.data.split_assignment import SplitAssignment
from genre_jax.errors import UserError
from genre_jax.evaluation import metrics, multi_label_metrics
from genre_jax.evaluation.calibration import summarize_temperature
from genre_jax.evaluation.run_predictions import evaluation_file
from genre_jax.files import write_json
from genre_jax.training import checkpoints, processes, steps
from genre_jax.training.setup import Experiment


def split_batches(experiment: Experiment, split: str, mesh) -> EvalBatches:
  """Return the batches of a split; their size is a multiple of the number of devices."""
  return EvalBatches(
    experiment.prepared,
    experiment.assignment,
    split,
    batch_size=-(-experiment.config.train.batch_size // mesh.size) * mesh.size,
    per_track=experiment.config.segments.eval_per_track,
    part=processes.part(),
  )


def predict_split(
  eval_step, variables, batches: EvalBatches, experiment: Experiment, split: str, mesh
) -> metrics.Predictions:
  """Predict every segment of one split.

  Args:
    eval_step: From `steps.make_eval_step`.
    variables: Parameters and batch statistics.
    batches: Of that split.
    experiment: The prepared tracks, and the split of each.
    split: 'train', 'validation' or 'test'.
    mesh: The devices.

  Returns:
    One row per segment.
  """
  prepared, assignment = experiment.prepared, experiment.assignment
  multi_label = prepared.task == "multi_label"
  tracks, labels, known, logits = [], [], [], []
  for batch in batches:
    batch_logits = steps.on_host(eval_step(variables, steps.shard_batch(batch, mesh)))
    tracks.append(batch["track_index"][batch["mask"]])
    labels.append(batch["labels"][batch["mask"]])
    known.append(batch["label_mask"][batch["mask"]] > 0.5)
    logits.append(batch_logits[batch["mask"]])
  empty = [np.zeros((0, len(prepared.classes)))]
  index = np.concatenate(tracks) if tracks else np.zeros(0, int)
  labels, logits = np.concatenate(labels or empty), np.concatenate(logits or empty)
  return metrics.Predictions(
    names=tuple(prepared.clips[i].track for i in index),
    groups=tuple(
      prepared.clips[i].track if split in assignment.known_groups else prepared.clips[i].group
      for i in index
    ),
    labels=labels > 0.5 if multi_label else labels.argmax(-1),
    probabilities=metrics.sigmoid(logits) if multi_label else metrics.softmax(logits),
    classes=prepared.classes,
    known=np.concatenate(known or empty).astype(bool) if multi_label else None,
  )


def validation_metrics(tracks: metrics.Predictions) -> dict[str, float] | None:
  """Compute the metrics that training shows and by which checkpoints are ranked.

  Args:
    tracks: Predictions of the validation tracks.

  Returns:
    'accuracy' (multi_label: 'pr_auc') and 'nll'; None if there are no tracks.
  """
  if not tracks.names:
    return None
  if tracks.known is not None:
    return multi_label_metrics.validation_metrics(tracks)
  summary = metrics.summarize(tracks)
  return {name: summary[name] for name in ("accuracy", "nll")}


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
  """Write the files of one split into a run's eval folder.

  Their names begin with 'valid' or 'test'. NAME.json has the metrics, NAME.csv one row per track
  and NAME_segments.csv one row per segment. There, several labels of a track are joined by ';', and
  unknown labels begin with '?'.

  Args:
    folder: The run's folder.
    predictions: Predictions of segments.
    assignment: The split of each track.
    split: 'validation' or 'test'.
    seed: Seed of the training, for the JSON file.
    checkpoint_step: Step of the evaluated checkpoint, for the JSON file.
    parameters: Number of trained parameters, for the JSON file.
    thresholds: Threshold of each class for multi_label; None for single_label.

  Returns:
    The content of the JSON file.
  """
  tracks = predictions.by_track()
  if thresholds is None:
    summaries = {
      "segment": metrics.summarize(predictions),
      "track": metrics.summarize(tracks),
      "temperature": summarize_temperature(tracks),
    }
  else:
    summaries = {"thresholds": thresholds} | {
      unit: multi_label_metrics.summarize_multi_label(rows, thresholds)
      for unit, rows in (("segment", predictions), ("track", tracks))
    }
  report = {
    "task": "single_label" if thresholds is None else "multi_label",
    "split": assignment.name,
    "leaky": assignment.leaky,
    "classes": list(predictions.classes),
    "seed": seed,
    "checkpoint_step": checkpoint_step,
    "parameters": parameters,
    **summaries,
  }
  if processes.is_first():
    (folder / "eval").mkdir(parents=True, exist_ok=True)
    _write_rows(evaluation_file(folder, split, "track"), tracks, thresholds)
    _write_rows(evaluation_file(folder, split, "segment"), predictions, thresholds)
    write_json(evaluation_file(folder, split), report)
  return report


def _write_rows(path: pathlib.Path, predictions: metrics.Predictions, thresholds) -> None:
  """Write one CSV row per prediction: track, group, label, prediction, probabilities."""
  with open(path, "w", newline="", encoding="utf-8") as file:
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


def _label_cells(predictions: metrics.Predictions, i: int, thresholds) -> tuple[str, str]:
  """Return the true and the predicted labels of row `i`, as the CSV file has them."""
  classes, row = predictions.classes, predictions.probabilities[i]
  if thresholds is None:
    return classes[predictions.labels[i]], classes[row.argmax()]
  true = [
    name if known else f"?{name}"
    for name, positive, known in zip(
      classes, predictions.labels[i], predictions.known[i], strict=True
    )
    if positive or not known
  ]
  predicted = [name for name, p in zip(classes, row, strict=True) if p >= thresholds[name]]
  return ";".join(true), ";".join(predicted)


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Results of `evaluate`, with the network that made them.

  Attributes:
    reports: {split: content of its JSON file}.
    predictions: {split: predictions of its segments}.
    state: State of the evaluated checkpoint.
    eval_step: From `steps.make_eval_step`.
  """

  reports: dict[str, dict]
  predictions: dict[str, metrics.Predictions]
  state: steps.TrainState
  eval_step: Callable


def evaluate(experiment: Experiment, folder: pathlib.Path, mesh, checkpoint: str) -> Evaluation:
  """Evaluate a checkpoint on the validation and test splits, and write the eval folder.

  Args:
    experiment: Data, network and optimizer.
    folder: The run's folder.
    mesh: The devices.
    checkpoint: 'best', 'last', a run's folder or a checkpoint.

  Returns:
    The results.

  Raises:
    UserError: If the checkpoint does not fit the config, or was trained on another split of the
      same tracks.
  """
  config = experiment.config
  with processes.together():
    path = _checkpoint_folder(folder, checkpoint, config.train.best_metric)
  stored, current = checkpoints.metadata(path), experiment.metadata()
  for name in ("frontend", "classes", "task", "model", "normalization"):
    if stored[name] != current[name]:
      raise UserError(
        f"the checkpoint {path} has {name} {stored[name]}, and this config has {current[name]}:"
        " give the config with which it was trained"
      )
  if stored["dataset_id"] == current["dataset_id"] and stored["split"] != current["split"]:
    raise UserError(
      f"the checkpoint {path} was trained on another split of these tracks ({stored['split']}), so"
      " its training tracks may be among those to evaluate: give the same config.split"
    )
  state = checkpoints.load(path, steps.replicate(experiment.new_state(), mesh))
  eval_step = steps.make_eval_step(experiment.model)
  predictions = {
    split: predict_split(
      eval_step,
      state.variables(),
      split_batches(experiment, split, mesh),
      experiment,
      split,
      mesh,
    )
    for split in ("validation", "test")
  }
  thresholds = None
  if config.task == "multi_label":  # a checkpoint of an interrupted run has no thresholds
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
    print(_summary_line(split, reports[split]))
  print(f"results   {folder / 'eval'}, checkpoint {path}")
  return Evaluation(reports, predictions, state, eval_step)


def _checkpoint_folder(folder: pathlib.Path, checkpoint: str, metric: str) -> pathlib.Path:
  """Return the folder of the checkpoint that --checkpoint selects."""
  if checkpoint not in ("best", "last"):
    return checkpoints.locate(checkpoint, metric)
  best = checkpoints.locate(str(folder), metric)
  if checkpoint == "best":
    return best
  return best.with_name(str(max(int(p.name) for p in best.parent.iterdir() if p.name.isdigit())))


def _summary_line(split: str, report: dict) -> str:
  """Return the main metrics of a split as one line."""
  parts = []
  for unit in ("segment", "track"):
    summary = report[unit]
    if not summary["n"]:
      return f"{split:9} no tracks"
    if report["task"] == "multi_label":
      parts.append(
        f"{unit}s n={summary['n']}: "
        + ", ".join(
          name.replace("_", " ").replace("match", "match %")
          + " "
          + multi_label_metrics.format_metric(name, summary[name], summary["ci95"][name])
          for name in ("pr_auc_macro", "roc_auc_macro", "f1_macro", "exact_match", "top_match")
        )
      )
      continue
    low, high = summary["ci95"]
    parts.append(
      f"{unit} accuracy {100 * summary['accuracy']:.2f} % "
      f"[{100 * low:.1f}, {100 * high:.1f}] n={summary['n']}"
    )
  return f"{split:9} " + "; ".join(parts) + ("  LEAKY SPLIT" if report["leaky"] else "")
