"""What training makes small, by task: pure functions of logits and labels.

`make_loss` gives `steps.make_train_step` the loss of a batch.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

# A class seen once in ten thousand clips must not outweigh all others.
LARGEST_WEIGHT = 20.0


def cross_entropy(logits, labels, weight, *, label_smoothing=0.0):
  """Mean softmax cross-entropy over the rows that count.

  Args:
    logits: float[batch, classes].
    labels: float[batch, classes], non-negative, rows summing to 1 (mixtures are fractions).
    weight: float or bool[batch]; rows of weight 0 do not count.
    label_smoothing: share of the label that is spread over all classes.
  Returns:
    float[].
  """
  labels = optax.smooth_labels(labels, label_smoothing)
  losses = optax.softmax_cross_entropy(logits, labels)
  weight = weight.astype(losses.dtype)
  return (losses * weight).sum() / jnp.maximum(weight.sum(), 1)


def binary_cross_entropy(
  logits,
  labels,
  weight,
  *,
  label_smoothing=0.0,
  positive_weight=None,
  focus_positive=0.0,
  focus_negative=0.0,
  negative_margin=0.0,
):
  """Mean sigmoid cross-entropy over the labels that count, with the asymmetric loss's fields.

  Args:
    logits: float[batch, classes].
    labels: float[batch, classes] in [0, 1] (mixtures are fractions).
    weight: float or bool[batch, classes]; a label of weight 0, or unknown, does not count.
    label_smoothing: labels are moved so far towards 1/2, 1 being all the way.
    positive_weight: float[classes], how much more a label that is held counts; None: 1.
    focus_positive: exponent of 1 - p that lets labels count less that are found already.
    focus_negative: exponent of p that lets labels count less that are ruled out already.
    negative_margin: in [0, 1), taken off p where a label is not held: what is below is ruled out.
  Returns:
    float[].
  Reference: Ridnik et al., "Asymmetric loss for multi-label classification", ICCV 2021. There the
    sum over classes is taken; the mean here differs by a factor.
  """
  labels = labels + label_smoothing * (0.5 - labels)
  held, not_held = -jax.nn.log_sigmoid(logits), -jax.nn.log_sigmoid(-logits)
  p = jax.nn.sigmoid(logits)
  if negative_margin:
    p_negative = jnp.maximum(p - negative_margin, 0)
    not_held = -jnp.log1p(-p_negative)  # at most -log(margin): no overflow
  else:
    p_negative = p
  if focus_positive:
    held = held * _power(1 - p, focus_positive)
  if focus_negative:
    not_held = not_held * _power(p_negative, focus_negative)
  if positive_weight is not None:
    held = held * positive_weight[None]
  losses = labels * held + (1 - labels) * not_held
  weight = weight.astype(losses.dtype)
  return (losses * weight).sum() / jnp.maximum(weight.sum(), 1)


def _power(x, exponent):
  """x**exponent for x in [0, 1], whose gradient at 0 is finite for exponents below 1 too."""
  return jnp.maximum(x, 1e-8) ** exponent


def positive_weights(labels: np.ndarray, known: np.ndarray, power: float) -> np.ndarray:
  """How much more a held label counts: (labels not held / labels held) ** power of each class.

  Args:
    labels: bool[clips, classes], of the train side.
    known: bool[clips, classes].
    power: 0 weighs nothing, 1 balances.
  Returns:
    float32[classes], between 1 / LARGEST_WEIGHT and LARGEST_WEIGHT.
  """
  held = (labels & known).sum(0)
  ratio = (known.sum(0) - held) / np.maximum(held, 1)
  ratio = np.clip(ratio, 1 / LARGEST_WEIGHT, LARGEST_WEIGHT)
  return (ratio**power).astype(np.float32)


def make_loss(config, positive_weight: np.ndarray | None = None) -> Callable:
  """The loss of a batch, by the config's task.

  Args:
    config: `task`, `train.label_smoothing` and, of multi_label, `loss` are read.
    positive_weight: float[classes], see `positive_weights`.
  Returns:
    (logits, batch) -> (loss, share that is right: windows, or known labels at p = 1/2).
  """
  smoothing = config.train.label_smoothing
  if config.get("task", "single_label") == "single_label":

    def single_label(logits, batch):
      labels = batch["labels"].astype(logits.dtype)
      loss = cross_entropy(logits, labels, batch["mask"], label_smoothing=smoothing)
      return loss, (logits.argmax(-1) == labels.argmax(-1)).mean()

    return single_label

  fields = config.loss
  given = None if positive_weight is None else jnp.asarray(positive_weight)

  def multi_label(logits, batch):
    labels = batch["labels"].astype(logits.dtype)
    known = batch["label_mask"].astype(logits.dtype) * batch["mask"][:, None].astype(logits.dtype)
    loss = binary_cross_entropy(
      logits,
      labels,
      known,
      label_smoothing=smoothing,
      positive_weight=None if given is None else given.astype(logits.dtype),
      focus_positive=fields.focus_positive,
      focus_negative=fields.focus_negative,
      negative_margin=fields.negative_margin,
    )
    right = ((logits > 0) == (labels > 0.5)) * known
    return loss, right.sum() / jnp.maximum(known.sum(), 1)

  return multi_label
