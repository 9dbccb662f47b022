"""What a window holds along time and along frequency, in numbers: kernels that are not learnt.

Stands below `tf_split.py`, which learns from the numbers. Everything looks along one axis at a
time: how bands differ from bands further up, how frames differ from later frames, the cosine
transform along frequency (the cepstrum), waves along time; then statistics over the window. The
level of single bands, which tells recordings apart better than genres, and what a gain changes are
left out (measured: experiments/NOTES.md, rows 46 on). Masks are float[B, T], 1 where a frame is
valid, and hold at least one valid frame.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.models.layers import mask_after, masked_statistics, pool_axis

# dB per unit: brings the levels of music (sd 15 to 20 dB) near 1.
DB_SCALE = 20.0
LAGS = (1, 2, 4, 8, 16)  # frames, and bands, between what is compared
GROUPS = 16  # of neighbouring bands, told apart in differences and modulations
CEPSTRA = 30  # cosine coefficients that are told apart; those beyond, in groups of 4
CORRELATED = 20  # so many of them are compared in pairs, and followed in time
# Cycles per frame; at 12.9 frames a second 0.6 to 6 Hz, from slow phrases to fast strumming.
RATES = tuple(float(rate) for rate in np.geomspace(0.0465, 0.465, 9))
CEPSTRAL_RATES = (0.062, 0.124, 0.248, 0.426)
MODULATION_FRAMES = 24  # the longest wave
SQUARE_SIDE = 5  # of the control's waves: about as many weights
_LEAST_POWER = 1e-4  # added to modulation powers before the logarithm: 0.2 dB, squared
_LEAST_DEVIATION = 0.05  # added to deviations that divide: 1 dB
_LEAST_CUBE = 0.01  # added where third moments are divided: (4 dB) ** 3


class DistanceConv(nn.Module):
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
    out = []
    for frames, bands in _offsets(self.axis, self.square):
      difference = jnp.abs(_difference(x[..., 0], frames, bands))
      after = [(0, size - got) for size, got in zip(x.shape[:3], difference.shape, strict=True)]
      out.append(jnp.pad(difference, after))
    return jnp.stack(out, -1)


def _offsets(axis, square):
  """(frames, bands) of each of LAGS."""
  if square:
    return tuple((lag, lag if axis == "frequency" else -lag) for lag in LAGS)
  return tuple((0, lag) if axis == "frequency" else (lag, 0) for lag in LAGS)


def _difference(x, frames, bands):
  """float[B, T', M']: float[B, T, M] so many frames later and bands higher, less itself."""
  frames = min(frames, x.shape[1])
  low, high = x[:, :x.shape[1] - frames], x[:, frames:]
  up, down = max(bands, 0), max(-bands, 0)
  size = x.shape[2] - up - down
  return high[..., up:up + size] - low[..., down:down + size]


def _later(mask, frames):
  """float[B, T - frames] of float[B, T], the first always valid; of a short window, one frame."""
  return mask_after(mask, min(frames, mask.shape[1] - 1) + 1).at[:, 0].set(1)


def _pairs(x, distances, mask, offsets):
  """For each offset (signed, distance, mask): float[B, T', M'] twice and float[B, T']."""
  for i, (frames, bands) in enumerate(offsets):
    signed = _difference(x[..., 0], frames, bands)
    if not signed.shape[1]:  # the window is no longer than the lag: it shows no difference
      signed = jnp.zeros((x.shape[0], 1, signed.shape[2]), x.dtype)
    time, size = signed.shape[1:]
    yield signed, distances[:, :time, :size, i], _later(mask, frames)


def _grouping(places):
  """float32[places, GROUPS]: means over neighbouring places."""
  matrix = np.float32(np.arange(places)[:, None] * GROUPS // places == np.arange(GROUPS)[None])
  return matrix / np.maximum(matrix.sum(0, keepdims=True), 1)


def frequency_statistics(shape, distances, mask, square):
  """How much bands differ from others, how that varies and moves, and the differences on average.

  Args:
    shape: float[B, T, M, 1], frames relative to themselves.
    distances: of `DistanceConv`.
    mask: float[B, T].
    square: see `DistanceConv`.
  Returns:
    float[B, lags * 4 * GROUPS].
  """
  parts = []
  for signed, distance, valid in _pairs(shape, distances, mask, _offsets("frequency", square)):
    grouping = _grouping(signed.shape[2])
    size = distance @ grouping
    parts += [masked_statistics(size, valid, ("mean", "std")), _mean_step(size, valid, 1),
              jnp.abs(masked_statistics(signed, valid, ("mean",))) @ grouping]
  return jnp.concatenate(parts, -1)


def time_statistics(level, distances, mask, square):
  """How much frames differ from others, how that varies, and whether they rise or fall faster.

  Arguments as those of `frequency_statistics`; `level` may hold any constant.

  Returns:
    float[B, lags * 3 * GROUPS].
  """
  parts = []
  for signed, distance, valid in _pairs(level, distances, mask, _offsets("time", square)):
    grouping = _grouping(signed.shape[2])
    square_, cube = (masked_statistics(signed**k, valid, ("mean",)) for k in (2, 3))
    parts += [masked_statistics(distance @ grouping, valid, ("mean", "std")),
              (cube / (square_ * jnp.sqrt(square_ + 1e-9) + _LEAST_CUBE)) @ grouping]
  return jnp.concatenate(parts, -1)


def cepstrum(shape):
  """float[B, T, M - 1] of float[B, T, M]: the orthonormal DCT-II of each frame less its mean."""
  bands = shape.shape[2]
  places, orders = np.arange(bands)[:, None] + 0.5, np.arange(1, bands)[None]
  return shape @ np.float32(np.sqrt(2 / bands) * np.cos(np.pi / bands * places * orders))


def cepstral_statistics(cepstra, mask):
  """Mean, deviation, skewness and correlations of float[B, T, M - 1]: float[B, D]."""
  fine, first = cepstra[..., CEPSTRA:], cepstra[..., :CORRELATED]
  parts = [masked_statistics(cepstra[..., :CEPSTRA], mask, ("mean", "std"))]
  parts += [pool_axis(masked_statistics(x, mask, ("mean",)), 4, 1, "mean")
            for x in (fine, jnp.abs(fine))]
  weight = mask[..., None]
  count = weight.sum(1)
  centred = (first - ((first * weight).sum(1) / count)[:, None]) * weight
  deviation = jnp.sqrt((centred**2).sum(1) / count + 1e-9) + _LEAST_DEVIATION
  parts.append((centred**3).sum(1) / count / deviation**3)
  unit = centred / deviation[:, None]
  together = unit.swapaxes(1, 2) @ unit / count[..., None]
  parts += [together[:, i, i + 1:] for i in range(together.shape[1] - 1)]
  return jnp.concatenate(parts, -1)


def cepstrum_in_time(cepstra, mask):
  """How float[B, T, M - 1] changes: steps of each lag, and modulation: float[B, D]."""
  steps = [_mean_step(cepstra[..., :CEPSTRA], mask, lag) for lag in LAGS]
  waves = _waves_along(cepstra[..., :CORRELATED], mask, CEPSTRAL_RATES)
  return jnp.concatenate([*steps, waves], -1)


def _mean_step(x, mask, frames):
  """float[B, D]: mean distance of float[B, T, D] from itself some frames on; 0 if T is short."""
  steps = jnp.abs(_difference(x, frames, 0))
  if not steps.shape[1]:
    return jnp.zeros((x.shape[0], x.shape[2]), x.dtype)
  return masked_statistics(steps, _later(mask, frames), ("mean",))


def modulations(level, mask):
  """float[B, GROUPS * rates]: log power of float[B, T, M] at each of RATES, by groups of bands."""
  return _waves_along(_band_groups(level), mask, RATES)


def sweeps(level, mask):
  """As `modulations`, with square kernels that see frames and bands at once."""
  x = _band_groups(level)
  side, half = min(SQUARE_SIDE, x.shape[1]), SQUARE_SIDE // 2
  x = jnp.pad(x, ((0, 0), (0, 0), (half, half)), "edge")
  # Rising and falling waves in turn, by the sum and the difference of the places.
  row, column = np.meshgrid(np.arange(side), np.arange(SQUARE_SIDE), indexing="ij")
  waves = _waves(RATES, side + SQUARE_SIDE - 1)
  rising = np.repeat(np.arange(len(RATES)) % 2 > 0, 2)
  kernel = np.where(rising, waves[row + column], waves[row + SQUARE_SIDE - 1 - column])
  kernel = kernel - kernel.mean((0, 1))
  waves = jax.lax.conv_general_dilated(
    x[..., None], jnp.asarray(kernel, x.dtype)[:, :, None], (1, 1), "VALID",
    dimension_numbers=("NHWC", "HWIO", "NHWC"))
  return _log_power(waves, _later(mask, side - 1))


def _band_groups(level):
  return pool_axis(level, max(1, level.shape[2] // GROUPS), 2, "mean")


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


def _waves_along(x, mask, rates):
  """float[B, D * rates]: log power of each column of float[B, T, D] at each rate."""
  length = min(MODULATION_FRAMES, x.shape[1])
  columns = x.swapaxes(1, 2).reshape(-1, x.shape[1], 1)
  waves = jax.lax.conv_general_dilated(
    columns, jnp.asarray(_waves(rates, length), x.dtype)[:, None], (1,), "VALID",
    dimension_numbers=("NWC", "WIO", "NWC"))
  waves = waves.reshape(x.shape[0], x.shape[2], -1, 2 * len(rates)).swapaxes(1, 2)
  return _log_power(waves, _later(mask, length - 1))


def _log_power(waves, mask):
  """float[B, D * rates] of float[B, T, D, 2 * rates], cosines and sines in turn."""
  power = jnp.square(waves).reshape(*waves.shape[:3], -1, 2).sum(-1)
  power = power.reshape(*power.shape[:2], -1)
  return jnp.log(masked_statistics(power, mask, ("mean",)) + _LEAST_POWER)
