"""Compute handcrafted statistics of a segment along time and along frequency; nothing is learned.

`axis_features.py` trains a network on them. Each kernel covers one axis: differences between bands,
differences between frames, the cosine transform along frequency (the cepstrum), and waves along
time. The statistics are taken over the segment.

Two things are left out. The level of single bands identifies recordings better than genres
(measured: docs/results/notebook.md). What a gain changes is left out as well.

Masks are float[B, T], 1 where a frame is valid, with at least one valid frame per row.
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
from genre_jax.models.layers import mask_after, masked_statistics, pool_axis

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
    all frames of such rows are valid. A row without valid frames repeats its first frame.
  """
  count = jnp.maximum(mask.sum(1), 1).astype(jnp.int32)[:, None]
  short = count < MODULATION_FRAMES
  index = jnp.arange(mask.shape[1], dtype=count.dtype)[None]
  index = jnp.where(short, index % count, index)
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
    return jnp.abs(_differences(x, self.axis, self.square))


def _offsets(axis, square):
  """Return (frames, bands) of each of LAGS."""
  if square:
    return tuple((lag, lag if axis == "frequency" else -lag) for lag in LAGS)
  return tuple((0, lag) if axis == "frequency" else (lag, 0) for lag in LAGS)


def _differences(x, axis, square):
  """Return float[B, T, M, lags]: the value at each offset minus the value of float[B, T, M, 1]."""
  x, out = x[..., 0], []
  for frames, bands in _offsets(axis, square):
    frames = min(frames, x.shape[1])
    low, high = x[:, : x.shape[1] - frames], x[:, frames:]
    up, down = max(bands, 0), max(-bands, 0)
    size = x.shape[2] - up - down
    difference = high[..., up : up + size] - low[..., down : down + size]
    out.append(jnp.pad(difference, ((0, 0), (0, frames), (0, up + down))))
  return jnp.stack(out, -1)


def _lags_as_batch(x):
  """Reshape float[B, T, M, lags] to float[B * lags, T, M], so that one call reduces all lags."""
  return jnp.moveaxis(x, 3, 1).reshape(-1, *x.shape[1:3])


def _lag_masks(mask, axis, square):
  """Return float[B * lags, T]: 1 where both frames of a difference are valid, and at frame 0."""
  rows = []
  for frames, _ in _offsets(axis, square):
    frames = min(frames, mask.shape[1])
    rows.append(jnp.pad(mask[:, frames:], ((0, 0), (0, frames))))
  return jnp.stack(rows, 1).reshape(-1, mask.shape[1]).at[:, 0].set(1)


def _grouped(x, axis, square):
  """Average neighboring bands: float[B * lags, T, GROUPS] of float[B * lags, T, M]."""
  bands, matrices = x.shape[2], []
  for _, lag in _offsets(axis, square):
    count = bands - abs(lag)
    if count < 1:
      raise ValueError(f"{bands} bands are too few: use {max(LAGS) + 1} or more")
    group = np.where(np.arange(bands) < count, np.arange(bands) * GROUPS // count, GROUPS)
    matrix = np.float32(group[:, None] == np.arange(GROUPS)[None])
    matrices.append(matrix / np.maximum(matrix.sum(0, keepdims=True), 1))
  x = x.reshape(-1, len(LAGS), *x.shape[1:])
  matrix = jnp.asarray(np.stack(matrices), x.dtype)
  return jnp.einsum("bltm,lmg->bltg", x, matrix).reshape(-1, x.shape[2], GROUPS)


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
  valid = _lag_masks(mask, "frequency", square)
  size = _grouped(_lags_as_batch(differences), "frequency", square)
  signed = masked_statistics(
    _lags_as_batch(_differences(shape, "frequency", square)), valid, ("mean",)
  )
  parts = [
    masked_statistics(size, valid, ("mean", "std")),
    _mean_step(size, valid),
    _grouped(jnp.abs(signed)[:, None], "frequency", square)[:, 0],
  ]
  return jnp.concatenate(parts, -1).reshape(shape.shape[0], -1)


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
  valid = _lag_masks(mask, "time", square)
  size = _grouped(_lags_as_batch(differences), "time", square)
  signed = _lags_as_batch(_differences(level, "time", square))
  second, third = (masked_statistics(signed**k, valid, ("mean",)) for k in (2, 3))
  skewness = third / (second * jnp.sqrt(second + 1e-9) + _MIN_CUBE)
  parts = [
    masked_statistics(size, valid, ("mean", "std")),
    _grouped(skewness[:, None], "time", square)[:, 0],
  ]
  return jnp.concatenate(parts, -1).reshape(level.shape[0], -1)


def cepstrum(shape, kernel):
  """Multiply each frame of float[B, T, M] by the kernels: float[B, T, M - 1]."""
  return shape @ jnp.asarray(kernel, shape.dtype)


def cepstral_statistics(cepstra, mask):
  """Compute mean, deviation, skewness and correlations of cepstra over time.

  Args:
    cepstra: float[B, T, M - 1].
    mask: float[B, T].

  Returns:
    float[B, D]: mean and standard deviation of the first CEPSTRA coefficients, the mean and mean
    absolute value of higher ones in groups of 4, and, for the first CORRELATED coefficients, the
    skewness and the correlation of each pair.
  """
  fine, first = cepstra[..., CEPSTRA:], cepstra[..., :CORRELATED]
  parts = [masked_statistics(cepstra[..., :CEPSTRA], mask, ("mean", "std"))]
  parts += [
    pool_axis(masked_statistics(x, mask, ("mean",)), 4, 1, "mean") for x in (fine, jnp.abs(fine))
  ]
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


def cepstral_changes(cepstra, mask, square, kernel):
  """Compute how cepstra change in time: mean absolute steps of each lag, and modulation power.

  Args:
    cepstra: float[B, T, M - 1].
    mask: float[B, T].
    square: See `AxisDifferences`.
    kernel: From `axis_kernels.wave_kernel`, of CEPSTRAL_RATES.

  Returns:
    float[B, D].
  """
  steps = _lags_as_batch(jnp.abs(_differences(cepstra[..., :CEPSTRA, None], "time", square)))
  steps = masked_statistics(steps, _lag_masks(mask, "time", square), ("mean",))
  waves = _wave_power(cepstra[..., :CORRELATED], mask, kernel)
  return jnp.concatenate([steps.reshape(cepstra.shape[0], -1), waves], -1)


def _mean_step(x, mask):
  """Return float[B, D], the mean absolute step between frames of float[B, T, D]; 0 if T is 1."""
  if x.shape[1] == 1:
    return jnp.zeros((x.shape[0], x.shape[2]), x.dtype)
  steps = jnp.abs(x[:, 1:] - x[:, :-1])
  return masked_statistics(steps, mask_after(mask, 2).at[:, 0].set(1), ("mean",))


def modulations(level, mask, kernel):
  """Compute the log power of groups of bands at each of RATES.

  Args:
    level: float[B, T, M].
    mask: float[B, T].
    kernel: From `axis_kernels.wave_kernel`, of RATES.

  Returns:
    float[B, GROUPS * rates].
  """
  groups = pool_axis(level, max(1, level.shape[2] // GROUPS), 2, "mean")
  return _wave_power(groups, mask, kernel)


def _wave_power(x, mask, kernel):
  """Return float[B, D * rates]: log power of each column of float[B, T, D] at each rate."""
  filter_waves, stride = (_along_time, 1) if kernel.ndim == 2 else (_along_both, SQUARE_STRIDE)
  waves = filter_waves(x, jnp.asarray(kernel, x.dtype))
  valid = mask_after(mask, kernel.shape[0], stride).at[:, 0].set(1)
  power = jnp.square(waves).reshape(*waves.shape[:3], -1, 2).sum(-1)  # cosine and sine
  power = power.reshape(*power.shape[:2], -1)
  return jnp.log(masked_statistics(power, valid, ("mean",)) + _MIN_POWER)


def _along_time(x, kernel):
  """Filter the columns of float[B, T, D] with float[length, K]: float[B, T', D, K]."""
  columns = x.swapaxes(1, 2).reshape(-1, x.shape[1], 1)
  waves = jax.lax.conv_general_dilated(
    columns, kernel[:, None], (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
  )
  return waves.reshape(x.shape[0], x.shape[2], -1, kernel.shape[1]).swapaxes(1, 2)


def _along_both(x, kernel):
  """Filter float[B, T, D] with square float[length, columns, K]: float[B, T', D, K]."""
  half = kernel.shape[1] // 2
  x = jnp.pad(x, ((0, 0), (0, 0), (half, half)), "edge")
  return jax.lax.conv_general_dilated(
    x[..., None],
    kernel[:, :, None],
    (SQUARE_STRIDE, 1),
    "VALID",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
