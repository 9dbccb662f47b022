"""Everything a run needs before its first step, made from the config: data, network, optimizer.

Training, evaluation and the summary of the layers all start here.
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
from genre_jax.data.pipeline import plan_windows
from genre_jax.data.prepared import Prepared, label_vectors, prepare
from genre_jax.data.sources.registry import Source, open_source
from genre_jax.data.splits import SplitAssignment, assign_splits, check_groups_apart
from genre_jax.errors import UserError
from genre_jax.models.registry import MODELS, build_model, count_parameters
from genre_jax.training.config_checks import check
from genre_jax.training.init_from import init_from
from genre_jax.training.losses import positive_weights
from genre_jax.training.optimizer import make_optimizer
from genre_jax.training.steps import TrainState, create_state

MOST_NAMED = 3  # clips named in a message


@dataclasses.dataclass(frozen=True)
class Experiment:
  """What stays the same during a run."""

  config: ml_collections.ConfigDict
  prepared: Prepared
  assignment: SplitAssignment
  model: nn.Module
  tx: optax.GradientTransformation
  steps_per_epoch: int
  total_steps: int

  def metadata(self) -> dict[str, Any]:
    """What a checkpoint says of itself: enough to use the network without its config."""
    return describe(self.config, self.prepared)

  def new_state(self) -> TrainState:
    """A state of random weights: to train from, or to restore a checkpoint into."""
    frontend = self.prepared.frontend
    sample = jnp.zeros((1, frontend.num_frames, frontend.n_mels, 1), jnp.float32)
    return create_state(
      self.model, self.tx, sample, self.config.seed, ema=self.config.train.ema_decay > 0
    )

  def with_trained_weights(self, state: TrainState) -> TrainState:
    """The state with the weights of `config.init_from`, or as it is where that is empty."""
    path = self.config.init_from
    return init_from(state, path, self.metadata(), self.tx) if path else state

  def positive_weight(self) -> np.ndarray | None:
    """How much more a held label counts, by the train side's clips; None where it does not."""
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
    """Number of trained parameters."""
    frontend = self.prepared.frontend
    return count_model(self.model, frontend)


def describe(config, prepared: Prepared) -> dict[str, Any]:
  """Recipe, classes, task, network and normalization, as stored with every checkpoint."""
  return json.loads(
    json.dumps(
      {  # as it comes back from disk: lists for tuples
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
  """Parameters of a network at a recipe's window, without making them."""
  sample = jax.ShapeDtypeStruct((1, frontend.num_frames, frontend.n_mels, 1), jnp.float32)
  return count_parameters(jax.eval_shape(model.init, jax.random.key(0), sample)["params"])


def open_dataset(config) -> tuple[Source, FrontendConfig]:
  """The source and the recipe that a config names, checked and told of."""
  check(config)
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
    f"source    {source.name} {dataset.path}: {len(source.clips)} clips, "
    f"{len(source.classes)} genres: {', '.join(source.classes)}"
  )
  for note in source.notes:
    print(f"          {note}")
  if config.task == "single_label":
    unfit = [clip.track for clip in source.clips if len(clip.labels) != 1 or clip.unknown]
    if unfit:
      raise UserError(
        f"--config.task=single_label asks for one genre a clip; {len(unfit)} clips"
        f" have none, several or unknown ones, as {', '.join(unfit[:MOST_NAMED])}:"
        " use --config.task=multi_label"
      )
  return source, frontend


def check_classes(task: str, classes: tuple[str, ...], clips, where: str = "") -> None:
  """Refuses classes of which nothing can be learned: one genre, or labels that are all alike.

  Args:
    task: of the config.
    classes: that are asked.
    clips: which must differ in a class, for multi_label.
    where: what clips these are, for the message, as ' of the train side'.
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
      f"{'every' if held else 'no'} clip carries {name}"
      for name, held in zip(classes[:MOST_NAMED], labels.any(0), strict=False)
    )
    raise UserError(
      f"there is nothing to tell apart among the {len(clips)} clips{where}: {which}."
      " Add clips with and without it, or ask for other classes with"
      " --config.dataset.genres"
    )


def warn_of_empty_classes(prepared: Prepared) -> None:
  """Prints a warning of classes that no prepared clip carries, as where none could be read."""
  held = {name for clip in prepared.clips for name in clip.labels}
  if empty := [name for name in prepared.classes if name not in held]:
    print(
      f"WARNING   no clip is left that carries {', '.join(empty)}: what is not heard"
      f" cannot be learned. {prepared.path / 'skipped.json'} says which files could not be read:"
      " mend them, or choose others with --config.dataset.genres"
    )


def open_experiment(config: ml_collections.ConfigDict) -> Experiment:
  """Prepares what the config asks for, and says what there is.

  Raises:
    UserError: for whatever the user can mend.
  """
  source, frontend = open_dataset(config)
  check_classes(config.task, source.classes, source.clips)
  prepared = prepare(
    source, frontend, config.dataset.prepared_dir, task=config.task, workers=config.dataset.workers
  )
  print(
    f"prepared  {len(prepared.clips)} clips in {prepared.path}"
    + (f", {len(prepared.skipped)} skipped (skipped.json)" if prepared.skipped else "")
  )
  warn_of_empty_classes(prepared)
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
      f"split.name={assignment.name} asks for the same fixed windows on both sides: set"
      f" --config.segments.train=fixed --config.segments.eval_per_track={fixed}"
    )
  per_track = {
    "train": config.segments.train_per_track,
    "validation": config.segments.eval_per_track,
    "test": config.segments.eval_per_track,
  }
  counts, windows = [], {}
  for split, count in per_track.items():
    plan = plan_windows(
      prepared,
      assignment,
      split,
      count,
      random=split == "train" and config.segments.train == "random",
    )
    windows[split] = int((plan >= 0).sum())
    counts.append(f"{split} {int((plan >= 0).any(1).sum())} tracks ({windows[split]} windows)")
  print(f"split     {assignment.name}: " + ", ".join(counts))
  for note in assignment.notes:
    print(f"          {note}")
  if short := sum(frames < frontend.num_frames for frames in prepared.num_frames):
    shortest = min(prepared.num_frames)
    print(
      f"notice    {short} of {len(prepared.clips)} clips are shorter than a window of "
      f"{frontend.window_seconds:.1f} s and are padded; where length goes with genre, a network"
      f" can learn the length. The shortest has {shortest} frames: --config.frontend.num_frames"
    )
  if training := [clip for clip in prepared.clips if assignment.split_of(clip.track) == "train"]:
    check_classes(config.task, prepared.classes, training, " of the train side")
  model = build_model(config.model.to_dict(), len(prepared.classes), config.dtype)
  try:
    count_model(model, frontend)
  except (ValueError, ZeroDivisionError, TypeError, IndexError) as error:
    reason = str(error).splitlines()[0]
    raise UserError(
      f"{config.model.name} with these config.model sizes cannot take windows of"
      f" --config.frontend.num_frames={frontend.num_frames} x"
      f" --config.frontend.n_mels={frontend.n_mels}: {reason}"
    ) from error
  # None at all is right for evaluating a folder of test clips; `train` refuses it.
  steps_per_epoch = math.ceil(windows["train"] / config.train.batch_size)
  total_steps = steps_per_epoch * config.train.epochs
  tx = make_optimizer(config.optimizer, total_steps)
  return Experiment(config, prepared, assignment, model, tx, steps_per_epoch, total_steps)
