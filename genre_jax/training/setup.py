"""Make what a run needs before its first step from its config: data, splits, network, optimizer.

Training, evaluation and the summary of the layers start here.
"""

import dataclasses
import json
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.pipeline import plan_segments
from genre_jax.data.prepared import Prepared, prepare
from genre_jax.data.source import label_vectors
from genre_jax.data.sources.registry import Source, open_source
from genre_jax.data.split_assignment import SplitAssignment, check_groups_apart
from genre_jax.data.splits import assign_splits
from genre_jax.errors import UserError
from genre_jax.models.registry import MODELS, build_model, count_parameters
from genre_jax.training.config_checks import check_config
from genre_jax.training.init_from import init_from
from genre_jax.training.losses import positive_weights
from genre_jax.training.optimizer import make_optimizer
from genre_jax.training.steps import TrainState, create_state

MAX_NAMED = 3  # tracks or classes named in a message


@dataclasses.dataclass(frozen=True)
class Experiment:
  """Data, network and optimizer of a run: everything that does not change during it.

  Attributes:
    config: The resolved config.
    prepared: The prepared tracks.
    assignment: The split of each track.
    model: The network.
    tx: The optimizer.
    steps_per_epoch: Steps per epoch, 0 if the train split is empty.
    total_steps: Steps of the whole training.
  """

  config: ml_collections.ConfigDict
  prepared: Prepared
  assignment: SplitAssignment
  model: nn.Module
  tx: optax.GradientTransformation
  steps_per_epoch: int
  total_steps: int

  def metadata(self) -> dict[str, Any]:
    """Return the metadata of a checkpoint: enough to use the network without its config."""
    return checkpoint_metadata(self.config, self.prepared)

  def new_state(self) -> TrainState:
    """Create a state with random weights, to train from or to restore a checkpoint into."""
    frontend = self.prepared.frontend
    sample = jnp.zeros((1, frontend.num_frames, frontend.n_mels, 1), jnp.float32)
    return create_state(
      self.model, self.tx, sample, self.config.seed, ema=self.config.train.ema_decay > 0
    )

  def with_trained_weights(self, state: TrainState) -> TrainState:
    """Return the state with the weights of `config.init_from`, or unchanged if that is empty."""
    path = self.config.init_from
    return init_from(state, path, self.metadata(), self.tx) if path else state

  def positive_weight(self) -> np.ndarray | None:
    """Compute the weight of positive labels of each class from the train split.

    Returns:
      float32[classes]; None if `config.loss.positive_power` is 0 or the task has one label.
    """
    power = self.config.loss.positive_power
    if self.config.task != "multi_label" or not power:
      return None
    rows = [
      label_vectors(clip, self.prepared.classes)
      for clip in self.prepared.clips
      if self.assignment.split_of(clip.track) == "train"
    ]
    labels, known = (np.array(part) > 0.5 for part in zip(*rows, strict=True))
    return positive_weights(labels, known, power)

  def parameters(self) -> int:
    """Return the number of trained parameters."""
    return count_model(self.model, self.prepared.frontend)


def checkpoint_metadata(config: ml_collections.ConfigDict, prepared: Prepared) -> dict[str, Any]:
  """Return the metadata stored with every checkpoint, such as front end, classes and network."""
  return json.loads(
    json.dumps(
      {  # through JSON, so that it equals what is read back: lists instead of tuples
        "frontend": prepared.frontend.to_dict(),
        "classes": prepared.classes,
        "task": prepared.task,
        "model": config.model.to_dict(),
        "normalization": MODELS[config.model.name].normalization,
        "source": prepared.source,
        "dataset_id": prepared.path.name,
        "split": config.split.to_dict(),
        "seed": config.seed,
        "eval_per_track": config.segments.eval_per_track,
      }
    )
  )


def count_model(model: nn.Module, frontend: FrontendConfig) -> int:
  """Count the parameters of a network for the front end's segments, without making them."""
  sample = jax.ShapeDtypeStruct((1, frontend.num_frames, frontend.n_mels, 1), jnp.float32)
  return count_parameters(jax.eval_shape(model.init, jax.random.key(0), sample)["params"])


def open_dataset(config: ml_collections.ConfigDict) -> tuple[Source, FrontendConfig]:
  """Check a config, open its source and print what the source contains.

  Args:
    config: The config of an experiment.

  Returns:
    The source and the front end.

  Raises:
    UserError: If the config, the source or the labels are wrong.
  """
  check_config(config)
  frontend = FrontendConfig.from_dict(config.frontend.to_dict())
  dataset = config.dataset
  source = open_source(
    dataset.source,
    dataset.path,
    dataset.genres,
    groups=dataset.groups,
    subset=dataset.subset,
    clip_seconds=dataset.clip_seconds,
    frontend=frontend,
    task=config.task,
  )
  print(
    f"source    {source.name} {dataset.path}: {len(source.clips)} tracks, "
    f"{len(source.classes)} genres: {', '.join(source.classes)}"
  )
  for note in source.notes:
    print(f"          {note}")
  if config.task == "single_label":
    unfit = [clip.track for clip in source.clips if len(clip.labels) != 1 or clip.unknown]
    if unfit:
      raise UserError(
        f"--config.task=single_label needs one genre per track; {len(unfit)} tracks have none,"
        f" several or unknown ones, such as {', '.join(unfit[:MAX_NAMED])}:"
        " use --config.task=multi_label"
      )
  return source, frontend


def check_classes(task: str, classes: tuple[str, ...], clips, where: str = "") -> None:
  """Check that there is something to learn: two genres, or a label that not all clips share.

  Args:
    task: 'single_label' or 'multi_label'.
    classes: The classes to learn.
    clips: The clips, which must differ in a class for multi_label.
    where: Words for the message that say which clips these are, as ' of the train split'.

  Raises:
    UserError: If there is one genre, or every label is the same for all clips.
  """
  if task == "single_label":
    if len(classes) < 2:
      raise UserError(
        f"there is one genre, {classes[0]}: give at least two with"
        " --config.dataset.genres or in --config.dataset.path"
      )
    return
  labels, known = (
    np.array(part) > 0.5
    for part in zip(*(label_vectors(clip, classes) for clip in clips), strict=True)
  )
  if not ((labels & known).any(0) & (~labels & known).any(0)).any():
    which = ", ".join(
      f"{'every' if positive else 'no'} track has the label {name}"
      for name, positive in zip(classes[:MAX_NAMED], labels.any(0), strict=False)
    )
    raise UserError(
      f"there is nothing to distinguish among the {len(clips)} tracks{where}: {which}."
      " Add tracks with and without the label, or choose other classes with"
      " --config.dataset.genres"
    )


def warn_about_empty_classes(prepared: Prepared) -> None:
  """Print a warning if no prepared track has a class, as when no file of it can be read."""
  present = {name for clip in prepared.clips for name in clip.labels}
  if empty := [name for name in prepared.classes if name not in present]:
    print(
      f"WARNING   no track is left with the label {', '.join(empty)}, so it cannot be learned."
      f" {prepared.path / 'skipped.json'} lists the files that could not be read: fix them, or"
      " choose other labels with --config.dataset.genres"
    )


def open_experiment(config: ml_collections.ConfigDict) -> Experiment:
  """Prepare the data of a config, make its network and optimizer, and print what there is.

  Args:
    config: The config of an experiment.

  Returns:
    The experiment.

  Raises:
    UserError: If the config or the data has a mistake that the user can fix.
  """
  source, frontend = open_dataset(config)
  check_classes(config.task, source.classes, source.clips)
  prepared = prepare(
    source, frontend, config.dataset.prepared_dir, task=config.task, workers=config.dataset.workers
  )
  print(
    f"prepared  {len(prepared.clips)} tracks in {prepared.path}"
    + (f", {len(prepared.skipped)} skipped (skipped.json)" if prepared.skipped else "")
  )
  warn_about_empty_classes(prepared)
  fixed = config.segments.train_per_track
  assignment = assign_splits(
    prepared.clips,
    name=config.split.name,
    num_folds=config.split.num_folds,
    fold=config.split.fold,
    seed=config.split.seed,
    segments_per_track=fixed,
    train_share=config.split.train_share,
  )
  check_groups_apart(assignment, prepared.clips)
  if assignment.leaky and (
    config.segments.train != "fixed" or config.segments.eval_per_track != fixed
  ):
    raise UserError(
      f"--config.split.name={assignment.name} needs the same fixed segments in every split: set"
      f" --config.segments.train=fixed --config.segments.eval_per_track={fixed}"
    )
  per_track = {
    "train": config.segments.train_per_track,
    "validation": config.segments.eval_per_track,
    "test": config.segments.eval_per_track,
  }
  counts, segments = [], {}
  for split, count in per_track.items():
    plan = plan_segments(
      prepared,
      assignment,
      split,
      count,
      random=split == "train" and config.segments.train == "random",
    )
    segments[split] = int((plan >= 0).sum())
    counts.append(f"{split} {int((plan >= 0).any(1).sum())} tracks ({segments[split]} segments)")
  print(f"split     {assignment.name}: " + ", ".join(counts))
  for note in assignment.notes:
    print(f"          {note}")
  if short := sum(frames < frontend.num_frames for frames in prepared.num_frames):
    shortest = min(prepared.num_frames)
    print(
      f"notice    {short} of {len(prepared.clips)} tracks are shorter than a segment of "
      f"{frontend.segment_seconds:.1f} s and are padded; if length depends on genre, a network can"
      f" learn the length. The shortest has {shortest} frames: --config.frontend.num_frames"
    )
  if training := [clip for clip in prepared.clips if assignment.split_of(clip.track) == "train"]:
    check_classes(config.task, prepared.classes, training, " of the train split")
  model = build_model(config.model.to_dict(), len(prepared.classes), config.dtype)
  try:
    count_model(model, frontend)
  except (ValueError, ZeroDivisionError, TypeError, IndexError) as error:
    reason = str(error).splitlines()[0]
    raise UserError(
      f"{config.model.name} with these config.model sizes cannot take segments of"
      f" --config.frontend.num_frames={frontend.num_frames} x"
      f" --config.frontend.n_mels={frontend.n_mels}: {reason}"
    ) from error
  # An empty train split is possible, for evaluating a folder of test tracks; `train` refuses it.
  steps_per_epoch = math.ceil(segments["train"] / config.train.batch_size)
  total_steps = steps_per_epoch * config.train.epochs
  tx = make_optimizer(config.optimizer, total_steps)
  return Experiment(config, prepared, assignment, model, tx, steps_per_epoch, total_steps)
