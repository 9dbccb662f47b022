"""Build the optimizer and its learning-rate schedule from config values."""

import re

import jax
import optax

from genre_jax.errors import UserError


def learning_rate_schedule(config, total_steps: int) -> optax.Schedule:
  """Return a linear warm-up followed by a constant rate, or by a cosine to zero at the last step.

  Args:
    config: The fields of `config.optimizer`.
    total_steps: Number of steps of the whole training.

  Raises:
    UserError: If the schedule is unknown.
  """
  warmup = min(round(config.warmup_fraction * total_steps), max(total_steps - 1, 0))
  if config.schedule == "cosine":
    after = optax.cosine_decay_schedule(config.learning_rate, max(total_steps - warmup, 1))
  elif config.schedule == "constant":
    after = optax.constant_schedule(config.learning_rate)
  else:
    raise UserError(f"--config.optimizer.schedule={config.schedule}: give cosine or constant")
  if not warmup:
    return after
  rise = optax.linear_schedule(config.learning_rate / warmup, config.learning_rate, warmup)
  return optax.join_schedules([rise, after], [warmup])


def decay_mask(pattern: str):
  """Return a function that marks the parameters whose path matches a pattern.

  Args:
    pattern: Regular expression, searched in paths such as 'conv_0/kernel'.

  Returns:
    A function from a tree of parameters to a tree of bool.
  """

  def matches(params):
    return jax.tree_util.tree_map_with_path(
      lambda path, _: re.search(pattern, "/".join(key.key for key in path)) is not None, params
    )

  return matches


def make_optimizer(config, total_steps: int) -> optax.GradientTransformation:
  """Build the optimizer of `config.optimizer`.

  Args:
    config: The fields of `config.optimizer`.
    total_steps: Number of steps of the whole training.

  Returns:
    The optax transformation: clipping, weight decay and updates.

  Raises:
    UserError: If the name or the schedule is unknown.
  """
  schedule = learning_rate_schedule(config, total_steps)
  mask = decay_mask(config.weight_decay_on)
  parts = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
  if config.name == "adamw":
    parts.append(optax.adamw(schedule, weight_decay=config.weight_decay, mask=mask))
  elif config.name in ("adam", "sgd"):
    if config.weight_decay:
      parts.append(optax.add_decayed_weights(config.weight_decay, mask))
    parts.append(
      optax.adam(schedule)
      if config.name == "adam"
      else optax.sgd(schedule, config.momentum or None)
    )
  else:
    raise UserError(f"--config.optimizer.name={config.name}: give adamw, adam or sgd")
  return optax.chain(*parts)
