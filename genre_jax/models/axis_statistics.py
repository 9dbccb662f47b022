"""Compute handcrafted statistics of a segment along time and along frequency; nothing is learned.

`axis_features.py` trains a network on them. Each kernel covers one axis: differences between bands,
differences between frames, the cosine transform along frequency (the cepstrum), and waves along
time. The statistics are taken over the segment.

Two things are left out. The level of single bands identifies recordings better than genres
(measured: docs/results/notebook.md). What a gain changes is left out as well.

Masks are float[B, T], 1 where a frame is valid. Valid frames come first, at least MODULATION_FRAMES
of them or all, and the others are finite: `repeat_short_segments` sees to that.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.models.axis_kernels import (
  CEPSTRA,
  CORRELATED,
  GROUPS,
  LAGS,
  MODULATION_FRAMES,
  SQUARE_STRIDE,
)
from genre_jax.models.layers import mask_after

BLOCK = 12  # frames of waves that one product computes

_MIN_VARIANCE = 1e-5  # added before a square root, whose gradient at 0 (silence) is infinite
_MIN_POWER = 1e-4  # added to modulation powers before the logarithm: 0.2 dB, squared
_MIN_DEVIATION = 0.05  # added to standard deviations before dividing by them: 1 dB
_MIN_CUBE = 0.01  # added before dividing third moments: (4 dB) ** 3


def repeat_short_segments(log_mel, mask):
  """Repeat segments shorter than the longest wave, so that padding reaches no statistic.

  Args:
    log_mel: float[B, T, M, 1].
    mask: float[B, T], valid frames first.

  Returns:
    (log_mel, mask). Rows with fewer than MODULATION_FRAMES valid frames repeat these frames, and
    all frames of such rows are valid. A row without valid frames repeats its first frame. The
    invalid frames of other rows repeat their last valid frame.
  """
  count = jnp.maximum(mask.sum(1), 1).astype(jnp.int32)[:, None]
  short = count < MODULATION_FRAMES
  index = jnp.arange(mask.shape[1], dtype=count.dtype)[None]
  index = jnp.where(short, index % count, jnp.minimum(index, count - 1))
  log_mel = jax.vmap(lambda x, i: x.at[i].get(mode="promise_in_bounds"))(log_mel, index)
  return log_mel, jnp.where(short, 1, mask)


class AxisDifferences(nn.Module):
  """Absolute differences between values LAGS frames or bands apart, one channel per lag.

  It has no parameters. It is a module so that Grad-CAM can read and change its output.

  Attributes:
    axis: 'frequency' or 'time'.
    square: Take differences along both axes at once, by the same number of frames and bands:
      rising diagonals for 'frequency', falling ones for 'time'.
  """

  grad_cam_layer = True  # Grad-CAM may show this layer's output
  axis: str
  square: bool = False

  def __call__(self, x):
    """Return float[B, T, M, lags] of float[B, T, M, 1]; 0 at the ends, which have no partner."""
    offsets = _offsets(self.axis, self.square)
    return jnp.stack([jnp.abs(_difference(x[..., 0], *offset)) for offset in offsets], -1)


def _offsets(axis, square):
  """Return (frames, bands) of each of LAGS."""
  if square:
    return tuple((lag, lag if axis == "frequency" else -lag) for lag in LAGS)
  return tuple((0, lag) if axis == "frequency" else (lag, 0) for lag in LAGS)


def _difference(x, frames, bands):
  """Return float[B, T, M]: the value at an offset minus the value of float[B, T, M]."""
  frames = min(frames, x.shape[1])
  low, high = x[:, : x.shape[1] - frames], x[:, frames:]
  up, down = max(bands, 0), max(-bands, 0)
  size = x.shape[2] - up - down
  difference = high[..., up : up + size] - low[..., down : down + size]
  return jnp.pad(difference, ((0, 0), (0, frames), (0, up + down)))


def _lag_mask(mask, frames):
  """Return float[B, T]: 1 where both frames of a difference are valid."""
  count = mask.sum(1, keepdims=True) - frames
  return (jnp.arange(mask.shape[1], dtype=mask.dtype)[None] < count).astype(mask.dtype)


def _grouped(x, lag):
  """Average neighboring bands of float[..., M], all but the last `lag`: float[..., GROUPS]."""
  count = x.shape[-1] - abs(lag)
  if count < 1:
    raise ValueError(f"{x.shape[-1]} bands are too few: use {max(LAGS) + 1} or more")
  group = np.where(np.arange(x.shape[-1]) < count, np.arange(x.shape[-1]) * GROUPS // count, GROUPS)
  matrix = np.float32(group[:, None] == np.arange(GROUPS)[None])
  return _product(x, matrix / np.maximum(matrix.sum(0, keepdims=True), 1))


def _mean(x, mask):
  """Return float[B, D], the mean over the valid frames of float[B, T, D]; 0 without any.

  Invalid values must be finite. A selection instead of this product would double the time of the
  gradient.
  """
  return (x * mask[..., None]).sum(1) / jnp.maximum(mask.sum(1), 1)[:, None]


def _mean_and_deviation(x, mask):
  """Return float[B, 2 * D]: mean and standard deviation as of `_mean`."""
  mean = _mean(x, mask)
  deviation = jnp.sqrt(_mean(jnp.square(x - mean[:, None]), mask) + _MIN_VARIANCE)
  return jnp.concatenate([mean, deviation], -1)


def _product(x, matrix):
  """Return float[..., K] of float[..., M] and float[M, K].

  As a product of two matrices: for more dimensions, XLA's gradient takes twice as long.
  """
  y = x.reshape(-1, x.shape[-1]) @ jnp.asarray(matrix, x.dtype)
  return y.reshape(*x.shape[:-1], matrix.shape[1])


def _pooled(x, size):
  """Average each `size` neighbors of float[..., M]: float[..., M // size]; the rest is dropped.

  A product, because the gradient of XLA's pooling takes longer than all that it is used for here.
  """
  matrix = np.arange(x.shape[-1])[:, None] // size == np.arange(x.shape[-1] // size)[None]
  return _product(x, np.float32(matrix) / size)


def frequency_statistics(shape, differences, mask, square):
  """Compute statistics of the differences between bands.

  These are the mean and the standard deviation over time of the absolute difference, its mean
  change from frame to frame, and the absolute value of the mean difference.

  Args:
    shape: float[B, T, M, 1], frames relative to themselves.
    differences: float[B, T, M, lags], from `AxisDifferences`.
    mask: float[B, T].
    square: See `AxisDifferences`.

  Returns:
    float[B, lags * 4 * GROUPS].
  """
  parts = []
  for index, (frames, bands) in enumerate(_offsets("frequency", square)):
    valid = _lag_mask(mask, frames)
    size = _grouped(differences[..., index], bands)
    signed = _mean(_difference(shape[..., 0], frames, bands), valid)
    parts += [
      _mean_and_deviation(size, valid),
      _mean_step(size, valid),
      _grouped(jnp.abs(signed), bands),
    ]
  return jnp.concatenate(parts, -1)


def time_statistics(level, differences, mask, square):
  """Compute statistics of the differences between frames.

  These are the mean and the standard deviation over time of the absolute difference, and the
  skewness of the difference: positive where levels rise faster than they fall.

  Args:
    level: float[B, T, M, 1]; a constant added to it changes nothing.
    differences: float[B, T, M, lags], from `AxisDifferences`.
    mask: float[B, T].
    square: See `AxisDifferences`.

  Returns:
    float[B, lags * 3 * GROUPS].
  """
  parts = []
  for index, (frames, bands) in enumerate(_offsets("time", square)):
    valid = _lag_mask(mask, frames)
    size = _grouped(differences[..., index], bands)
    signed = _difference(level[..., 0], frames, bands)
    second, third = (_mean(signed**k, valid) for k in (2, 3))
    skewness = third / (second * jnp.sqrt(second + 1e-9) + _MIN_CUBE)
    parts += [_mean_and_deviation(size, valid), _grouped(skewness, bands)]
  return jnp.concatenate(parts, -1)


def cepstrum(shape, kernel):
  """Multiply each frame of float[B, T, M] by the kernels, float[M, M - 1].

  Returns:
    The first CEPSTRA coefficients, float[B, T, CEPSTRA], and the others. As parts of one product
    their gradients would be padded and added, which takes longer than the products.
  """
  return _product(shape, kernel[:, :CEPSTRA]), _product(shape, kernel[:, CEPSTRA:])


def cepstral_statistics(first, fine, mask):
  """Compute mean, deviation, skewness and correlations of cepstra over time.

  Args:
    first: float[B, T, CEPSTRA].
    fine: float[B, T, D], the other coefficients.
    mask: float[B, T].

  Returns:
    float[B, D]: mean and standard deviation of the first CEPSTRA coefficients, the mean and mean
    absolute value of higher ones in groups of 4, and, for the first CORRELATED coefficients, the
    skewness and the correlation of each pair.
  """
  parts = [_mean_and_deviation(first, mask)]
  first = first[..., :CORRELATED]
  parts += [_pooled(_mean(x, mask), 4) for x in (fine, jnp.abs(fine))]
  weight = mask[..., None]
  count = weight.sum(1)
  centered = (first - ((first * weight).sum(1) / count)[:, None]) * weight
  deviation = jnp.sqrt((centered**2).sum(1) / count + 1e-9) + _MIN_DEVIATION
  parts.append((centered**3).sum(1) / count / deviation**3)
  unit = centered / deviation[:, None]
  correlation = unit.swapaxes(1, 2) @ unit / count[..., None]
  size = correlation.shape[1]
  row, column = np.triu_indices(size, 1)
  parts.append(correlation.reshape(-1, size * size)[:, row * size + column])
  return jnp.concatenate(parts, -1)


def cepstral_changes(first, mask, square, kernel):
  """Compute how cepstra change in time: mean absolute steps of each lag, and modulation power.

  Args:
    first: float[B, T, CEPSTRA].
    mask: float[B, T].
    square: See `AxisDifferences`.
    kernel: From `axis_kernels.wave_kernel`, of CEPSTRAL_RATES.

  Returns:
    float[B, D].
  """
  parts, count = [], first.shape[1]
  # Padded once: a gradient that adds one padded array per lag takes eight times as long.
  later = jnp.pad(first, ((0, 0), (0, max(LAGS)), (0, 0)))
  for frames, orders in _offsets("time", square):
    size = first.shape[2] + orders
    steps = jnp.abs(later[:, frames : frames + count, :size] - first[..., -orders:])
    mean = _mean(steps, _lag_mask(mask, frames))
    parts.append(jnp.pad(mean, ((0, 0), (0, -orders))))
  return jnp.concatenate([*parts, _wave_power(first[..., :CORRELATED], mask, kernel)], -1)


def _mean_step(x, mask):
  """Return float[B, D], the mean absolute step between frames of float[B, T, D]; 0 if T is 1."""
  if x.shape[1] == 1:
    return jnp.zeros((x.shape[0], x.shape[2]), x.dtype)
  return _mean(jnp.abs(x[:, 1:] - x[:, :-1]), mask_after(mask, 2))


def modulations(level, mask, kernel):
  """Compute the log power of groups of bands at each of RATES.

  Args:
    level: float[B, T, M].
    mask: float[B, T].
    kernel: From `axis_kernels.wave_kernel`, of RATES.

  Returns:
    float[B, GROUPS * rates].
  """
  return _wave_power(_pooled(level, max(1, level.shape[2] // GROUPS)), mask, kernel)


def _wave_power(x, mask, kernel):
  """Return float[B, D * rates]: log power of each column of float[B, T, D] at each rate."""
  if kernel.ndim == 2:
    waves, valid = _along_time(x, jnp.asarray(kernel, x.dtype)), mask_after(mask, kernel.shape[0])
    valid = jnp.pad(valid, ((0, 0), (0, waves.shape[2] - valid.shape[1])))
  else:
    waves = _along_both(x, jnp.asarray(kernel, x.dtype)).swapaxes(1, 2)
    valid = mask_after(mask, kernel.shape[0], SQUARE_STRIDE)
  power = (jnp.square(waves) * valid[:, None, :, None]).sum(2)
  power = power.reshape(*power.shape[:2], -1, 2).sum(-1)  # cosine and sine
  power = power / jnp.maximum(valid.sum(1), 1)[:, None, None]
  return jnp.log(power + _MIN_POWER).reshape(x.shape[0], -1)


def _along_time(x, kernel):
  """Filter the columns of float[B, T, D] with float[length, K].

  It is a product of blocks of the columns with a matrix of shifted kernels. XLA's convolution of
  one channel takes up to three times as long.

  Returns:
    float[B, D, T', K], of which the first T - length + 1 frames are full.
  """
  length, num_kernels = kernel.shape
  blocks = -(-(x.shape[1] - length + 1) // BLOCK)
  size = BLOCK + length - 1  # frames that a block needs
  end = (blocks - 1) * BLOCK + size - x.shape[1]
  columns = jnp.pad(x.swapaxes(1, 2), ((0, 0), (0, 0), (0, end)))
  columns = jnp.stack([columns[..., i * BLOCK : i * BLOCK + size] for i in range(blocks)], 2)
  frame, shift = np.arange(size)[:, None, None], np.arange(BLOCK)[:, None]
  place = jnp.asarray(frame - shift == np.arange(length), kernel.dtype)
  waves = _product(columns, _product(place, kernel).reshape(size, -1))
  return waves.reshape(*columns.shape[:2], -1, num_kernels)


def _along_both(x, kernel):
  """Filter float[B, T, D] with square float[length, columns, K]: float[B, T', D, K]."""
  half = kernel.shape[1] // 2
  first, last = (jnp.repeat(column, half, 2) for column in (x[..., :1], x[..., -1:]))
  x = jnp.concatenate([first, x, last], 2)  # jax2onnx 0.17.1 converts jnp.pad's "edge" wrongly
  return jax.lax.conv_general_dilated(
    x[..., None],
    kernel[:, :, None],
    (SQUARE_STRIDE, 1),
    "VALID",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
