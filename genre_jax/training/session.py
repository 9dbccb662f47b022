"""Everything a run needs before its first step, made from the config: data, network, optimizer.

Training, evaluation and the summary of the layers all start here.
"""

import dataclasses
import json
import math
import pathlib
import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from genre_jax.data.pipeline import plan_windows
from genre_jax.data.prepared import Prepared, label_vectors, prepare
from genre_jax.data.recipe import Recipe
from genre_jax.data.sources import Source, open_source
from genre_jax.data.splits import Split, check_groups_apart, make_split
from genre_jax.errors import UserError
from genre_jax.models import MODELS, build_model, count_parameters
from genre_jax.training import checkpoints
from genre_jax.training.losses import positive_weights
from genre_jax.training.optimizer import make_optimizer
from genre_jax.training.steps import TrainState, create_state

TASKS = ("single_label", "multi_label")
MOST_NAMED = 3  # clips named in a message


@dataclasses.dataclass(frozen=True)
class Session:
  """What stays the same during a run."""

  config: ml_collections.ConfigDict
  prepared: Prepared
  split: Split
  model: nn.Module
  tx: optax.GradientTransformation
  steps_per_epoch: int
  total_steps: int

  def about(self) -> dict[str, Any]:
    """What a checkpoint says of itself: enough to use the network without its config."""
    return describe(self.config, self.prepared)

  def new_state(self) -> TrainState:
    """A state of random weights: to train from, or to restore a checkpoint into."""
    recipe = self.prepared.recipe
    sample = jnp.zeros((1, recipe.num_frames, recipe.n_mels, 1), jnp.float32)
    return create_state(
      self.model, self.tx, sample, self.config.seed, ema=self.config.train.ema_decay > 0
    )

  def with_trained_weights(self, state: TrainState) -> TrainState:
    """The state with the weights of `config.init_from`, or as it is where that is empty."""
    path = self.config.init_from
    return init_from(state, path, self.about(), self.tx) if path else state

  def positive_weight(self) -> np.ndarray | None:
    """How much more a held label counts, by the train side's clips; None where it does not."""
    power = self.config.loss.positive_power
    if self.config.task != "multi_label" or not power:
      return None
    rows = [
      label_vectors(clip, self.prepared.classes)
      for clip in self.prepared.clips
      if self.split.side(clip.track) == "train"
    ]
    labels, known = (np.array(part) > 0.5 for part in zip(*rows, strict=True))
    return positive_weights(labels, known, power)

  def parameters(self) -> int:
    """Number of trained parameters."""
    recipe = self.prepared.recipe
    return count_model(self.model, recipe)


def describe(config, prepared: Prepared) -> dict[str, Any]:
  """Recipe, classes, task, network and normalisation, as stored with every checkpoint."""
  return json.loads(
    json.dumps(
      {  # as it comes back from disk: lists for tuples
        "recipe": prepared.recipe.to_dict(),
        "classes": prepared.classes,
        "task": prepared.task,
        "model": config.model.to_dict(),
        "normalisation": MODELS[config.model.name].normalisation,
        "source": prepared.source,
        "material": prepared.path.name,
        "split": config.split.to_dict(),
        "seed": config.seed,
        "eval_per_track": config.segments.eval_per_track,
      }
    )
  )


def count_model(model: nn.Module, recipe: Recipe) -> int:
  """Parameters of a network at a recipe's window, without making them."""
  sample = jax.ShapeDtypeStruct((1, recipe.num_frames, recipe.n_mels, 1), jnp.float32)
  return count_parameters(jax.eval_shape(model.init, jax.random.key(0), sample)["params"])


def check(config: ml_collections.ConfigDict) -> None:
  """Refuses values that no later room would name: UserError with the flag and what it may be."""

  def need(holds: bool, field: str, what: str) -> None:
    if not holds:
      value = config
      for name in field.split("."):
        value = value[name]
      raise UserError(f"--config.{field}={value}: give {what}")

  train, segments = config.train, config.segments
  need(config.task in TASKS, "task", ", ".join(TASKS))
  need(segments.train in ("random", "fixed"), "segments.train", "random or fixed")
  need(segments.train_per_track >= 1, "segments.train_per_track", "1 or more")
  need(segments.eval_per_track >= 0, "segments.eval_per_track", "0 or more")
  for name in ("batch_size", "epochs", "eval_every_epochs", "shuffle_buffer"):
    need(train[name] >= 1, f"train.{name}", "1 or more")
  figure = "pr_auc" if config.task == "multi_label" else "accuracy"
  need(
    train.best_metric in (figure, "nll", "last"),
    "train.best_metric",
    f"{figure}, nll or last with task={config.task}",
  )
  for name, value in config.loss.items():
    need(0 <= value < float("inf"), f"loss.{name}", "0 or more")
    need(not value or config.task == "multi_label", f"loss.{name}", "0: it is of task=multi_label")
  need(config.loss.negative_margin < 1, "loss.negative_margin", "0 to below 1")
  need(
    not (train.patience and train.best_metric == "last"),
    "train.patience",
    "0, or another train.best_metric than last",
  )
  need(0 <= train.label_smoothing < 1, "train.label_smoothing", "0 to below 1")
  need(0 <= train.ema_decay < 1, "train.ema_decay", "0 to below 1")
  need(0 <= config.optimizer.warmup_fraction < 1, "optimizer.warmup_fraction", "0 to below 1")
  need(train.patience >= 0, "train.patience", "0 or more")
  optimizer = config.optimizer
  for name in ("learning_rate", "weight_decay", "momentum", "clip_norm"):
    need(0 <= optimizer[name] < float("inf"), f"optimizer.{name}", "0 or more")
  try:
    re.compile(optimizer.weight_decay_on)
  except re.error:
    need(False, "optimizer.weight_decay_on", "a regular expression, such as kernel$")
  for name, value in config.augment.items():
    need(value >= 0, f"augment.{name}", "0 or more")
  need(0 < config.dataset.clip_seconds < float("inf"), "dataset.clip_seconds", "more than 0")
  need(config.dataset.workers >= 0, "dataset.workers", "0 or more")
  need(0 <= config.split.seed < 2**31, "split.seed", "0 to 2147483647")
  need(0 <= config.seed < 2**31, "seed", "0 to 2147483647")


def open_material(config) -> tuple[Source, Recipe]:
  """The source and the recipe that a config names, checked and told of."""
  check(config)
  recipe = Recipe.from_dict(config.recipe.to_dict())
  dataset = config.dataset
  source = open_source(
    dataset.source,
    dataset.path,
    dataset.genres,
    groups=dataset.groups,
    subset=dataset.subset,
    clip_seconds=dataset.clip_seconds,
    recipe=recipe,
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
  return source, recipe


def check_classes(task: str, classes: tuple[str, ...], clips, where: str = "") -> None:
  """Refuses classes of which nothing can be learnt: one genre, or labels that are all alike.

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


def tell_of_empty_classes(prepared: Prepared) -> None:
  """Prints a warning of classes that no prepared clip carries, as where none could be read."""
  held = {name for clip in prepared.clips for name in clip.labels}
  if empty := [name for name in prepared.classes if name not in held]:
    print(
      f"WARNING   no clip is left that carries {', '.join(empty)}: what is not heard"
      f" cannot be learnt. {prepared.path / 'skipped.json'} says which files could not be read:"
      " mend them, or choose others with --config.dataset.genres"
    )


def open_session(config: ml_collections.ConfigDict) -> Session:
  """Prepares what the config asks for, and says what there is.

  Raises:
    UserError: for whatever the user can mend.
  """
  source, recipe = open_material(config)
  check_classes(config.task, source.classes, source.clips)
  prepared = prepare(
    source, recipe, config.dataset.prepared_dir, task=config.task, workers=config.dataset.workers
  )
  print(
    f"prepared  {len(prepared.clips)} clips in {prepared.path}"
    + (f", {len(prepared.skipped)} skipped (skipped.json)" if prepared.skipped else "")
  )
  tell_of_empty_classes(prepared)
  fixed = config.segments.train_per_track
  split = make_split(
    prepared.clips,
    name=config.split.name,
    num_folds=config.split.num_folds,
    fold=config.split.fold,
    seed=config.split.seed,
    segments_per_track=fixed,
    train_share=config.split.train_share,
  )
  check_groups_apart(split, prepared.clips)
  if split.leaky and (config.segments.train != "fixed" or config.segments.eval_per_track != fixed):
    raise UserError(
      f"split.name={split.name} asks for the same fixed windows on both sides: set"
      f" --config.segments.train=fixed --config.segments.eval_per_track={fixed}"
    )
  per_track = {
    "train": config.segments.train_per_track,
    "valid": config.segments.eval_per_track,
    "test": config.segments.eval_per_track,
  }
  counts, windows = [], {}
  for side, count in per_track.items():
    plan = plan_windows(
      prepared, split, side, count, random=side == "train" and config.segments.train == "random"
    )
    windows[side] = int((plan >= 0).sum())
    counts.append(f"{side} {int((plan >= 0).any(1).sum())} tracks ({windows[side]} windows)")
  print(f"split     {split.name}: " + ", ".join(counts))
  for note in split.notes:
    print(f"          {note}")
  if short := sum(frames < recipe.num_frames for frames in prepared.num_frames):
    shortest = min(prepared.num_frames)
    print(
      f"notice    {short} of {len(prepared.clips)} clips are shorter than a window of "
      f"{recipe.window_seconds:.1f} s and are padded; where length goes with genre, a network"
      f" can learn the length. The shortest has {shortest} frames: --config.recipe.num_frames"
    )
  if training := [clip for clip in prepared.clips if split.side(clip.track) == "train"]:
    check_classes(config.task, prepared.classes, training, " of the train side")
  model = build_model(config.model.to_dict(), len(prepared.classes), config.dtype)
  try:
    count_model(model, recipe)
  except (ValueError, ZeroDivisionError, TypeError, IndexError) as error:
    reason = str(error).splitlines()[0]
    raise UserError(
      f"{config.model.name} with these config.model sizes cannot take windows of"
      f" --config.recipe.num_frames={recipe.num_frames} x"
      f" --config.recipe.n_mels={recipe.n_mels}: {reason}"
    ) from error
  # None at all is right for evaluating a folder of test clips; `train` refuses it.
  steps_per_epoch = math.ceil(windows["train"] / config.train.batch_size)
  total_steps = steps_per_epoch * config.train.epochs
  tx = make_optimizer(config.optimizer, total_steps)
  return Session(config, prepared, split, model, tx, steps_per_epoch, total_steps)


def init_from(state: TrainState, path: str, about: dict[str, Any], tx) -> TrainState:
  """Takes over every weight of a trained network whose name and shape are the same.

  The head is left as it is where the classes differ, so that a user's own genres get a new one.

  Raises:
    UserError: if the checkpoint hears sound in another way, or is of another network.
  """
  folder = checkpoints.locate(path)
  stored = checkpoints.about(folder)
  other = Recipe.from_dict(stored["recipe"])
  mine = Recipe.from_dict(about["recipe"])
  if difference := dataclasses.replace(other, num_frames=mine.num_frames).difference(mine):
    raise UserError(
      f"--config.init_from={path} hears with another recipe: "
      + ", ".join(f"{name} {a} there, {b} here" for name, (a, b) in difference.items())
    )
  if stored["model"]["name"] != about["model"]["name"]:
    raise UserError(
      f"--config.init_from={path} is a {stored['model']['name']}, this config makes"
      f" a {about['model']['name']}"
    )
  saved = checkpoints.load(folder)
  saved = saved["ema"] or {"params": saved["params"], "batch_stats": saved["batch_stats"]}
  same_classes = stored["classes"] == about["classes"]
  taken, fresh = [], []

  def choose(location, new):
    names = [key.key for key in location]
    old = saved
    for name in names:
      old = old.get(name) if isinstance(old, dict) else None
    is_head = names[1].startswith("logits")
    if old is None or old.shape != new.shape or (is_head and not same_classes):
      fresh.append("/".join(names))
      return new
    taken.append("/".join(names))
    return jnp.asarray(old, new.dtype)

  mine = {"params": state.params, "batch_stats": state.batch_stats}
  merged = jax.tree_util.tree_map_with_path(choose, mine)
  if not taken:
    raise UserError(f"--config.init_from={path}: no weight there fits this network")
  print(
    f"weights   {len(taken)} arrays from {pathlib.Path(folder)}; new: "
    + (", ".join(fresh) or "none")
  )
  ema = jax.tree.map(jnp.copy, merged) if state.ema else {}
  return state.replace(
    params=merged["params"],
    batch_stats=merged["batch_stats"],
    ema=ema,
    opt_state=tx.init(merged["params"]),
  )
