"""Compute the training loss of each task: pure functions of logits and labels.

`steps.make_train_step` gets the loss of a batch from `make_loss`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

# A class of one track in ten thousand must not outweigh all others.
MAX_WEIGHT = 20.0


def cross_entropy(logits, labels, weight, *, label_smoothing=0.0):
  """Compute the mean softmax cross-entropy, weighted by row.

  Args:
    logits: float[batch, classes].
    labels: float[batch, classes], non-negative, rows summing to 1 (mixtures are fractions).
    weight: float or bool[batch]; rows of weight 0 do not count.
    label_smoothing: Share of the label that is spread over all classes.

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
  """Compute the mean sigmoid cross-entropy, weighted by label, or the asymmetric loss.

  Source of the asymmetric loss: Ridnik et al., "Asymmetric loss for multi-label classification",
  ICCV 2021. There it is the sum over classes; the mean here differs by a factor.

  Args:
    logits: float[batch, classes].
    labels: float[batch, classes] in [0, 1] (mixtures are fractions).
    weight: float or bool[batch, classes]; labels of weight 0, such as unknown ones, do not count.
    label_smoothing: Share by which labels are moved towards 1/2.
    positive_weight: float[classes], the weight of positive labels; None for 1.
    focus_positive: Exponent of 1 - p, which reduces the loss of positive labels with high p.
    focus_negative: Exponent of p, which reduces the loss of negative labels with low p.
    negative_margin: In [0, 1), subtracted from p of negative labels; below it their loss is 0.

  Returns:
    float[].
  """
  labels = labels + label_smoothing * (0.5 - labels)
  positive, negative = -jax.nn.log_sigmoid(logits), -jax.nn.log_sigmoid(-logits)
  p = jax.nn.sigmoid(logits)
  if negative_margin:
    p_negative = jnp.maximum(p - negative_margin, 0)
    negative = -jnp.log1p(-p_negative)  # at most -log(margin), so it cannot overflow
  else:
    p_negative = p
  if focus_positive:
    positive = positive * _power(1 - p, focus_positive)
  if focus_negative:
    negative = negative * _power(p_negative, focus_negative)
  if positive_weight is not None:
    positive = positive * positive_weight[None]
  losses = labels * positive + (1 - labels) * negative
  weight = weight.astype(losses.dtype)
  return (losses * weight).sum() / jnp.maximum(weight.sum(), 1)


def _power(x, exponent):
  """Return x**exponent for x in [0, 1], with a finite gradient at 0 for exponents below 1."""
  return jnp.maximum(x, 1e-8) ** exponent


def positive_weights(labels: np.ndarray, known: np.ndarray, power: float) -> np.ndarray:
  """Compute the weight of positive labels: (negatives / positives) ** power of each class.

  Args:
    labels: bool[tracks, classes], of the train split.
    known: bool[tracks, classes].
    power: 0 for equal weights, 1 to balance positives and negatives.

  Returns:
    float32[classes]; the ratio is limited to [1 / MAX_WEIGHT, MAX_WEIGHT].
  """
  positives = (labels & known).sum(0)
  ratio = (known.sum(0) - positives) / np.maximum(positives, 1)
  ratio = np.clip(ratio, 1 / MAX_WEIGHT, MAX_WEIGHT)
  return (ratio**power).astype(np.float32)


def make_loss(config, positive_weight: np.ndarray | None = None) -> Callable:
  """Return the loss function of a batch for the config's task.

  Args:
    config: It reads `task`, `train.label_smoothing` and, for multi_label, `loss`.
    positive_weight: float[classes], see `positive_weights`.

  Returns:
    A function (logits, batch) -> (loss, accuracy). The accuracy is the share of segments, or of
    known labels at threshold 1/2, that are classified correctly.
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
    correct = ((logits > 0) == (labels > 0.5)).astype(known.dtype) * known
    return loss, correct.sum() / jnp.maximum(known.sum(), 1)

  return multi_label
