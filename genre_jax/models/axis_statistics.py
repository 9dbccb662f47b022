"""What a window holds along time and along frequency, in numbers: kernels that are not learned.

Stands below `axis_features.py`, which learns from the numbers. Everything looks along one axis at a
time: how bands differ from bands further up, how frames differ from later frames, the cosine
transform along frequency (the cepstrum), waves along time; then statistics over the window. The
level of single bands, which tells recordings apart better than genres, and what a gain changes are
left out (measured: docs/results/notebook.md, rows 46 on). Masks are float[B, T], 1 where a frame is
valid, and hold at least one valid frame.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.models.layers import mask_after, masked_statistics, pool_axis

LAGS = (1, 2, 4, 8, 16)  # frames, and bands, between what is compared
GROUPS = 16  # of neighboring bands, told apart in differences and modulations
CEPSTRA = 30  # cosine coefficients that are told apart; those beyond, in groups of 4
CORRELATED = 20  # so many of them are compared in pairs, and followed in time
# Cycles per frame; at 12.9 frames a second 0.6 to 6 Hz, from slow phrases to fast strumming.
RATES = tuple(float(rate) for rate in np.geomspace(0.0465, 0.465, 9))
CEPSTRAL_RATES = (0.062, 0.124, 0.248, 0.426)
MODULATION_FRAMES = 24  # the longest wave
SQUARE_SIDE = 5  # of the control's waves: about as many weights
SQUARE_STRIDE = 2  # frames between them: about as many operations
_LEAST_POWER = 1e-4  # added to modulation powers before the logarithm: 0.2 dB, squared
_LEAST_DEVIATION = 0.05  # added to deviations that divide: 1 dB
_LEAST_CUBE = 0.01  # added where third moments are divided: (4 dB) ** 3


def repeat_short(log_mel, mask):
  """Repeats what is shorter than the longest wave, so that padding reaches no statistic.

  Args:
    log_mel: float[B, T, M, 1].
    mask: float[B, T], valid frames first.
  Returns:
    (log_mel, mask): rows of fewer than MODULATION_FRAMES valid frames hold these again and again,
    all of them valid; a row without any is judged by its first frame.
  """
  count = jnp.maximum(mask.sum(1), 1).astype(jnp.int32)[:, None]
  short = count < MODULATION_FRAMES
  place = jnp.arange(mask.shape[1])[None]
  place = jnp.where(short, place % count, place)
  log_mel = jax.vmap(lambda x, i: x.at[i].get(mode="promise_in_bounds"))(log_mel, place)
  return log_mel, jnp.where(short, 1, mask)


class AxisDifferences(nn.Module):
  """How far values are from those some frames or bands on: a channel for each of LAGS.

  A module, so that Grad-CAM finds what it sees.

  Attributes:
    axis: 'frequency' or 'time'.
    square: along both axes at once, as many frames as bands, rising or falling.
  """

  axis: str
  square: bool = False

  def __call__(self, x):
    """float[B, T, M, 1] -> float[B, T, M, lags]; 0 at the ends, where nothing is so far on."""
    return jnp.abs(_differences(x, self.axis, self.square))


def _offsets(axis, square):
  """(frames, bands) of each of LAGS."""
  if square:
    return tuple((lag, lag if axis == "frequency" else -lag) for lag in LAGS)
  return tuple((0, lag) if axis == "frequency" else (lag, 0) for lag in LAGS)


def _differences(x, axis, square):
  """float[B, T, M, lags] of float[B, T, M, 1]: what is so much later and higher, less x."""
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
  """float[B * lags, T, M] of float[B, T, M, lags]: one mask for each, and one pass for all."""
  return jnp.moveaxis(x, 3, 1).reshape(-1, *x.shape[1:3])


def _lag_masks(mask, axis, square):
  """float[B * lags, T]: 1 where both frames of a difference are valid, and at the first."""
  rows = []
  for frames, _ in _offsets(axis, square):
    frames = min(frames, mask.shape[1])
    rows.append(jnp.pad(mask[:, frames:], ((0, 0), (0, frames))))
  return jnp.stack(rows, 1).reshape(-1, mask.shape[1]).at[:, 0].set(1)


def _grouped(x, axis, square):
  """float[B * lags, T, GROUPS] of float[B * lags, T, M]: means over neighboring places."""
  bands, matrices = x.shape[2], []
  for _, lag in _offsets(axis, square):
    places = bands - abs(lag)
    if places < 1:
      raise ValueError(f"{bands} bands are too few: {max(LAGS) + 1} or more")
    group = np.where(np.arange(bands) < places, np.arange(bands) * GROUPS // places, GROUPS)
    matrix = np.float32(group[:, None] == np.arange(GROUPS)[None])
    matrices.append(matrix / np.maximum(matrix.sum(0, keepdims=True), 1))
  x = x.reshape(-1, len(LAGS), *x.shape[1:])
  return jnp.einsum("bltm,lmg->bltg", x, np.stack(matrices)).reshape(-1, x.shape[2], GROUPS)


def frequency_statistics(shape, distances, mask, square):
  """How much bands differ from others, how that varies and moves, and the differences on average.

  Args:
    shape: float[B, T, M, 1], frames relative to themselves.
    distances: of `AxisDifferences`.
    mask: float[B, T].
    square: see `AxisDifferences`.
  Returns:
    float[B, lags * 4 * GROUPS].
  """
  valid = _lag_masks(mask, "frequency", square)
  size = _grouped(_lags_as_batch(distances), "frequency", square)
  signed = masked_statistics(
    _lags_as_batch(_differences(shape, "frequency", square)), valid, ("mean",)
  )
  parts = [
    masked_statistics(size, valid, ("mean", "std")),
    _mean_step(size, valid),
    _grouped(jnp.abs(signed)[:, None], "frequency", square)[:, 0],
  ]
  return jnp.concatenate(parts, -1).reshape(shape.shape[0], -1)


def time_statistics(level, distances, mask, square):
  """How much frames differ from others, how that varies, and whether they rise or fall faster.

  Arguments as those of `frequency_statistics`; `level` may hold any constant.

  Returns:
    float[B, lags * 3 * GROUPS].
  """
  valid = _lag_masks(mask, "time", square)
  size = _grouped(_lags_as_batch(distances), "time", square)
  signed = _lags_as_batch(_differences(level, "time", square))
  second, third = (masked_statistics(signed**k, valid, ("mean",)) for k in (2, 3))
  skewness = third / (second * jnp.sqrt(second + 1e-9) + _LEAST_CUBE)
  parts = [
    masked_statistics(size, valid, ("mean", "std")),
    _grouped(skewness[:, None], "time", square)[:, 0],
  ]
  return jnp.concatenate(parts, -1).reshape(level.shape[0], -1)


def cepstrum(shape):
  """float[B, T, M - 1] of float[B, T, M]: the orthonormal DCT-II of each frame less its mean."""
  bands = shape.shape[2]
  places, orders = np.arange(bands)[:, None] + 0.5, np.arange(1, bands)[None]
  return shape @ np.float32(np.sqrt(2 / bands) * np.cos(np.pi / bands * places * orders))


def cepstral_statistics(cepstra, mask):
  """Mean, deviation, skewness and correlations of float[B, T, M - 1]: float[B, D]."""
  fine, first = cepstra[..., CEPSTRA:], cepstra[..., :CORRELATED]
  parts = [masked_statistics(cepstra[..., :CEPSTRA], mask, ("mean", "std"))]
  parts += [
    pool_axis(masked_statistics(x, mask, ("mean",)), 4, 1, "mean") for x in (fine, jnp.abs(fine))
  ]
  weight = mask[..., None]
  count = weight.sum(1)
  centerd = (first - ((first * weight).sum(1) / count)[:, None]) * weight
  deviation = jnp.sqrt((centerd**2).sum(1) / count + 1e-9) + _LEAST_DEVIATION
  parts.append((centerd**3).sum(1) / count / deviation**3)
  unit = centerd / deviation[:, None]
  together = unit.swapaxes(1, 2) @ unit / count[..., None]
  row, column = np.triu_indices(together.shape[1], 1)
  parts.append(together.reshape(together.shape[0], -1)[:, row * together.shape[1] + column])
  return jnp.concatenate(parts, -1)


def cepstrum_in_time(cepstra, mask, square):
  """How float[B, T, M - 1] changes: steps of each lag, and modulation: float[B, D]."""
  steps = _lags_as_batch(jnp.abs(_differences(cepstra[..., :CEPSTRA, None], "time", square)))
  steps = masked_statistics(steps, _lag_masks(mask, "time", square), ("mean",))
  waves = _wave_power(cepstra[..., :CORRELATED], mask, CEPSTRAL_RATES, square)
  return jnp.concatenate([steps.reshape(cepstra.shape[0], -1), waves], -1)


def _mean_step(x, mask):
  """float[B, D]: mean distance of float[B, T, D] from the next frame; 0 where there is none."""
  if x.shape[1] == 1:
    return jnp.zeros((x.shape[0], x.shape[2]), x.dtype)
  steps = jnp.abs(x[:, 1:] - x[:, :-1])
  return masked_statistics(steps, mask_after(mask, 2).at[:, 0].set(1), ("mean",))


def modulations(level, mask, square):
  """float[B, GROUPS * rates]: log power of float[B, T, M] at each of RATES, by groups of bands."""
  groups = pool_axis(level, max(1, level.shape[2] // GROUPS), 2, "mean")
  return _wave_power(groups, mask, RATES, square)


def _waves(rates, length):
  """float32[length, 2 * rates]: windowed cosines and sines whose sums are zero."""
  places = np.arange(length) - (length - 1) / 2
  out = []
  for rate in rates:
    size = min(length, max(6, round(2.5 / rate)))  # two and a half periods, where there is room
    window = np.cos(np.pi * np.clip(places / (size + 1), -0.5, 0.5)) ** 2
    for wave in (np.cos(2 * np.pi * rate * places), np.sin(2 * np.pi * rate * places)):
      wave = window * wave
      out.append((wave - window * wave.sum() / window.sum()) / window.sum())
  return np.float32(np.stack(out, 1))


def _wave_power(x, mask, rates, square):
  """float[B, D * rates]: log power of each column of float[B, T, D] at each rate."""
  look = _waves_along_both if square else _waves_along_time
  waves, frames, stride = look(x, rates)
  valid = mask_after(mask, frames, stride).at[:, 0].set(1)
  power = jnp.square(waves).reshape(*waves.shape[:3], -1, 2).sum(-1)  # cosine and sine
  power = power.reshape(*power.shape[:2], -1)
  return jnp.log(masked_statistics(power, valid, ("mean",)) + _LEAST_POWER)


def _waves_along_time(x, rates):
  """(float[B, T', D, 2 * rates] of float[B, T, D], frames that each sees, frames between two)."""
  length = min(MODULATION_FRAMES, x.shape[1])
  columns = x.swapaxes(1, 2).reshape(-1, x.shape[1], 1)
  waves = jax.lax.conv_general_dilated(
    columns,
    jnp.asarray(_waves(rates, length), x.dtype)[:, None],
    (1,),
    "VALID",
    dimension_numbers=("NWC", "WIO", "NWC"),
  )
  return waves.reshape(x.shape[0], x.shape[2], -1, 2 * len(rates)).swapaxes(1, 2), length, 1


def _waves_along_both(x, rates):
  """As `_waves_along_time`, with square kernels of about as many weights: the control's."""
  split, half = min(SQUARE_SIDE, x.shape[1]), SQUARE_SIDE // 2
  x = jnp.pad(x, ((0, 0), (0, 0), (half, half)), "edge")
  # Rising and falling waves in turn, by the sum and the difference of the places.
  row, column = np.meshgrid(np.arange(split), np.arange(SQUARE_SIDE), indexing="ij")
  waves = _waves(rates, split + SQUARE_SIDE - 1)
  rising = np.repeat(np.arange(len(rates)) % 2 > 0, 2)
  kernel = np.where(rising, waves[row + column], waves[row + SQUARE_SIDE - 1 - column])
  kernel = kernel - kernel.mean((0, 1))
  waves = jax.lax.conv_general_dilated(
    x[..., None],
    jnp.asarray(kernel, x.dtype)[:, :, None],
    (SQUARE_STRIDE, 1),
    "VALID",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  return waves, split, SQUARE_STRIDE
