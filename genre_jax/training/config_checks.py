"""Check the values of a config before any data is opened."""

import math
import re

import ml_collections

from genre_jax.data.source import TASKS
from genre_jax.errors import UserError


def check_config(config: ml_collections.ConfigDict) -> None:
  """Check the values that no later step checks.

  Args:
    config: The config of an experiment.

  Raises:
    UserError: If a value is not possible; the message names the flag and the possible values.
  """

  def require(valid: bool, field: str, possible: str) -> None:
    if not valid:
      value = config
      for name in field.split("."):
        value = value[name]
      raise UserError(f"--config.{field}={value}: give {possible}")

  train, segments, optimizer = config.train, config.segments, config.optimizer
  require(config.task in TASKS, "task", ", ".join(TASKS))
  require(segments.train in ("random", "fixed"), "segments.train", "random or fixed")
  require(segments.train_per_track >= 1, "segments.train_per_track", "1 or more")
  require(segments.eval_per_track >= 0, "segments.eval_per_track", "0 or more")
  for name in ("batch_size", "epochs", "eval_every_epochs"):
    require(train[name] >= 1, f"train.{name}", "1 or more")
  metric = "pr_auc" if config.task == "multi_label" else "accuracy"
  require(
    train.best_metric in (metric, "nll", "last"),
    "train.best_metric",
    f"{metric}, nll or last with task={config.task}",
  )
  for name, value in config.loss.items():
    require(0 <= value < math.inf, f"loss.{name}", "0 or more")
    require(
      not value or config.task == "multi_label",
      f"loss.{name}",
      "0: it applies to task=multi_label only",
    )
  require(config.loss.negative_margin < 1, "loss.negative_margin", "0 to below 1")
  require(
    not (train.patience and train.best_metric == "last"),
    "train.patience",
    "0, or another train.best_metric than last",
  )
  require(0 <= train.label_smoothing < 1, "train.label_smoothing", "0 to below 1")
  require(0 <= train.ema_decay < 1, "train.ema_decay", "0 to below 1")
  require(0 <= optimizer.warmup_fraction < 1, "optimizer.warmup_fraction", "0 to below 1")
  require(train.patience >= 0, "train.patience", "0 or more")
  for name in ("learning_rate", "weight_decay", "momentum", "clip_norm"):
    require(0 <= optimizer[name] < math.inf, f"optimizer.{name}", "0 or more")
  try:
    re.compile(optimizer.weight_decay_on)
  except re.error:
    require(False, "optimizer.weight_decay_on", "a regular expression, such as kernel$")
  for name, value in config.augment.items():
    require(value >= 0, f"augment.{name}", "0 or more")
  require(0 < config.dataset.clip_seconds < math.inf, "dataset.clip_seconds", "more than 0")
  require(config.dataset.workers >= 0, "dataset.workers", "0 or more")
  require(0 <= config.split.seed < 2**31, "split.seed", "0 to 2147483647")
  require(0 <= config.seed < 2**31, "seed", "0 to 2147483647")
