"""Classify handcrafted features along the time and frequency axes with a small network on top.

The features are handcrafted: 1,252 statistics of fixed kernels, each along one axis
(`axis_statistics.py`). Along frequency these are cosines (the cepstrum) and differences of bands;
along time, waves and differences of frames. No kernel is learned.

What is learned is a small network on top: a linear head and a head with one hidden layer. Each head
is trained on segments of its own, so that neither depends on the other; the prediction is the mean
of both. `split_cnn.py` also learns changes of the cosines and waves.

A gain (a constant added to all dB) changes no logit: cosines are of frames relative to themselves,
and differences and waves sum to zero. Nothing pads time.

Statistics of handcrafted features are an established approach to genre classification:
  Tzanetakis and Cook, "Musical genre classification of audio signals", IEEE Transactions on Speech
    and Audio Processing 10(5), 293-302, 2002.
  McKinney and Breebaart, "Features for audio and music classification", ISMIR 2003.
  Lidy and Rauber, "Evaluation of feature extractors and psycho-acoustic transformations for music
    genre classification", ISMIR 2005, 34-41.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models.axis_kernels import CEPSTRAL_RATES, RATES, cosine_kernel, wave_kernel
from genre_jax.models.axis_statistics import (
  AxisDifferences,
  cepstral_changes,
  cepstral_statistics,
  cepstrum,
  frequency_statistics,
  modulations,
  repeat_short_segments,
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
  """A linear head and a head with a hidden layer on handcrafted statistics along both axes.

  Attributes:
    num_classes: Number of logits.
    axes: 'frequency', 'time' or both; both add statistics of how the cepstrum changes in time.
    square: Compute differences and modulations along both axes at once (the control network).
    hidden: Units of the hidden layer.
    statistics_dropout: Dropout rate before the hidden layer.
    dropout: Dropout rate before the logits, of either head.
    linear_share: Share of the training segments that train the linear head; the rest train the
      other head.
    floor_db: See `center_frames`.
    dtype: Dtype of the hidden layer; statistics and logits are at least float32.
  """

  normalization = "frame"  # each frame is relative to itself, and kernels sum to zero
  num_classes: int
  axes: tuple[str, ...] = ("frequency", "time")
  square: bool = False
  hidden: int = 128
  statistics_dropout: float = 0.3
  dropout: float = 0.3
  linear_share: float = 0.5
  floor_db: float = 60.0
  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, log_mel, frame_mask=None, *, train=False):
    """Return genre logits.

    Args:
      log_mel: float[batch, time, frequency, 1] in dB.
      frame_mask: bool[batch, time], False where a frame is padding; None if no frame is.
      train: True to use and update batch statistics and to apply dropout (rng 'dropout').

    Returns:
      float32[batch, num_classes] (float64 if `dtype` is). In training each row comes from one of
      the two heads, drawn at random; else it is the mean of both.
    """
    wide = at_least_float32(self.dtype)
    log_mel = log_mel.astype(wide)
    mask = frame_weights(frame_mask, *log_mel.shape[:2], wide)
    if frame_mask is not None:
      log_mel, mask = repeat_short_segments(log_mel, mask)
    x = self._statistics(log_mel, mask)
    x = BatchNorm(not train, dtype=wide, name="statistics_norm")(x)
    linear = self._drop(self.dropout, x, train)
    linear = nn.Dense(
      self.num_classes, dtype=wide, kernel_init=nn.initializers.zeros, name="logits_linear"
    )(linear)
    x = self._drop(self.statistics_dropout, x, train)
    x = nn.Dense(self.hidden, use_bias=False, dtype=self.dtype, name="hidden")(x)
    x = nn.relu(BatchNorm(not train, dtype=self.dtype, name="hidden_norm")(x))
    self.sow("intermediates", "embedding", x)
    x = self._drop(self.dropout, x, train)
    other = nn.Dense(self.num_classes, dtype=wide, name="logits_hidden")(x)
    if not train:
      return (linear + other) / 2
    draw = jax.random.uniform(self.make_rng("dropout"), (x.shape[0], 1))
    return jnp.where(draw < self.linear_share, linear, other)

  def _drop(self, rate, x, train):
    return nn.Dropout(rate, deterministic=not train)(x)

  def _cosine_kernel(self, bands):
    """Return the kernels along frequency, float[bands, bands - 1]."""
    return cosine_kernel(bands)

  def _wave_kernel(self, name, rates, frames):
    """Return the kernels along time, as of `wave_kernel`; a subclass stores changes by `name`."""
    return wave_kernel(rates, frames, self.square)

  def _statistics(self, log_mel, mask):
    """Compute float[batch, statistics] of the kernels' outputs over the valid frames."""
    frames, bands = log_mel.shape[1:3]
    shape = center_frames(log_mel, self.floor_db) / DB_SCALE
    level = log_mel / DB_SCALE
    first, fine = cepstrum(shape[..., 0], self._cosine_kernel(bands))
    parts = []
    if "frequency" in self.axes:
      differences = AxisDifferences("frequency", self.square, name="frequency")(shape)
      parts += [
        cepstral_statistics(first, fine, mask),
        frequency_statistics(shape, differences, mask, self.square),
      ]
    if "time" in self.axes:
      differences = AxisDifferences("time", self.square, name="time")(level)
      parts += [
        time_statistics(level, differences, mask, self.square),
        modulations(level[..., 0], mask, self._wave_kernel("waves", RATES, frames)),
      ]
    if "frequency" in self.axes and "time" in self.axes:
      kernel = self._wave_kernel("cepstral_waves", CEPSTRAL_RATES, frames)
      parts.append(cepstral_changes(first, mask, self.square, kernel))
    return jnp.concatenate(parts, -1)


class AxisFeaturesFrequency(AxisFeatures):
  """`axis_features` of the frequency axis alone, its hidden layer widened to the same size."""

  axes: tuple[str, ...] = ("frequency",)
  hidden: int = 260


class AxisFeaturesTime(AxisFeatures):
  """`axis_features` of the time axis alone, its hidden layer widened to the same size."""

  axes: tuple[str, ...] = ("time",)
  hidden: int = 434


class AxisFeatures2d(AxisFeatures):
  """`axis_features` with the same number of differences and waves, each along both axes at once.

  The cosines along frequency have no two-dimensional counterpart and stay: 318 of the 1,252
  statistics. Changes of the cepstrum are measured along time and coefficient at once.
  """

  square: bool = True
