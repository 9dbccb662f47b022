"""Check the values of a config before anything is opened."""

import re

import ml_collections

from genre_jax.data.source import TASKS
from genre_jax.errors import UserError


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
