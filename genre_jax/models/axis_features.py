"""`axis_features`: a network that hears time and frequency apart, and the ones it is compared with.

Its kernels are fixed, each along one axis (`axis_statistics.py`): cosines and differences along
frequency, waves and differences along time. What is learned stands behind their statistics over the
window: a linear head, and one with a hidden layer, each of which learns from windows of its own, so
that neither leans on the other; the answer is the mean of both. Learned kernels, along one axis or
square, tell songs apart rather than genres when artists are few (measured: docs/results/notebook.md).

A gain (a constant added to all dB) changes no logit: cosines are of frames relative to themselves,
and all else is differences and waves that sum to zero. Nothing pads time.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models.axis_statistics import (
  AxisDifferences,
  cepstral_statistics,
  cepstrum,
  cepstrum_in_time,
  frequency_statistics,
  modulations,
  repeat_short,
  time_statistics,
)
from genre_jax.models.layers import (
  DB_SCALE,
  BatchNorm,
  at_least_float32,
  center_frames,
  frame_weights,
)


class AxisFeatures(nn.Module):
  """The split network.

  Attributes:
    num_classes: logits.
    axes: 'frequency', 'time' or both; with both, the cepstrum is followed in time as well.
    square: the control: differences and band modulations look along both axes at once.
    hidden: features of the hidden layer.
    statistics_dropout: rate before the hidden layer.
    dropout: rate before the logits, of either head.
    linear_share: of training windows, those that the linear head learns from; the other head
      learns from the rest.
    floor_db: see `center_frames`.
    dtype: of the hidden layer; statistics and logits are at least float32.
  """

  normalization = "frame"  # frames relative to themselves, and kernels that sum to zero
  num_classes: int
  axes: tuple[str, ...] = ("frequency", "time")
  square: bool = False
  hidden: int = 128
  statistics_dropout: float = 0.3
  dropout: float = 0.3
  linear_share: float = 0.5
  floor_db: float = 60.0
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, log_mel, frame_mask=None, *, train=False):
    """Genre logits.

    Args:
      log_mel: float[batch, time, frequency, 1] in dB.
      frame_mask: bool[batch, time], False where a frame is padding; None where none is.
      train: batch statistics are used and updated, dropout is on (rng 'dropout').
    Returns:
      float32[batch, num_classes] (float64 if `dtype` is).
    """
    wide = at_least_float32(self.dtype)
    log_mel = log_mel.astype(wide)
    mask = frame_weights(frame_mask, *log_mel.shape[:2], wide)
    if frame_mask is not None:
      log_mel, mask = repeat_short(log_mel, mask)
    x = self._statistics(log_mel, mask)
    x = BatchNorm(not train, momentum=0.9, dtype=wide, name="statistics_norm")(x)
    linear = self._drop(self.dropout, x, train)
    linear = nn.Dense(
      self.num_classes, dtype=wide, kernel_init=nn.initializers.zeros, name="logits_linear"
    )(linear)
    x = self._drop(self.statistics_dropout, x, train)
    x = nn.Dense(self.hidden, use_bias=False, dtype=self.dtype, name="hidden")(x)
    x = nn.relu(BatchNorm(not train, momentum=0.9, dtype=self.dtype, name="hidden_norm")(x))
    self.sow("intermediates", "embedding", x)
    x = self._drop(self.dropout, x, train)
    other = nn.Dense(self.num_classes, dtype=wide, name="logits_hidden")(x)
    if not train:
      return (linear + other) / 2
    draw = jax.random.uniform(self.make_rng("dropout"), (x.shape[0], 1))
    return jnp.where(draw < self.linear_share, linear, other)

  def _drop(self, rate, x, train):
    return nn.Dropout(rate, deterministic=not train)(x)

  def _statistics(self, log_mel, mask):
    """float[batch, statistics]: what the fixed kernels find, over the valid frames."""
    shape = center_frames(log_mel, self.floor_db) / DB_SCALE
    level = log_mel / DB_SCALE
    cepstra = cepstrum(shape[..., 0])
    parts = []
    if "frequency" in self.axes:
      distances = AxisDifferences("frequency", self.square, name="frequency")(shape)
      parts += [
        cepstral_statistics(cepstra, mask),
        frequency_statistics(shape, distances, mask, self.square),
      ]
    if "time" in self.axes:
      distances = AxisDifferences("time", self.square, name="time")(level)
      parts += [
        time_statistics(level, distances, mask, self.square),
        modulations(level[..., 0], mask, self.square),
      ]
    if "frequency" in self.axes and "time" in self.axes:
      parts.append(cepstrum_in_time(cepstra, mask, self.square))
    return jnp.concatenate(parts, -1)


class AxisFeaturesFrequency(AxisFeatures):
  """The frequency axis alone, the hidden layer widened to the size of `axis_features`."""

  axes: tuple[str, ...] = ("frequency",)
  hidden: int = 260


class AxisFeaturesTime(AxisFeatures):
  """The time axis alone, the hidden layer widened to the size of `axis_features`."""

  axes: tuple[str, ...] = ("time",)
  hidden: int = 434


class AxisFeatures2d(AxisFeatures):
  """`axis_features` with differences and waves along both axes at once, as many of each.

  The cosines along frequency, which have no square twin, stay, and with them 318 of the 1,252
  statistics; how the cepstrum moves is followed along time and order at once.
  """

  square: bool = True
