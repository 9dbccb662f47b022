"""Mix channels to mono so that they do not cancel, and remove a constant offset."""

import math

import numpy as np

# Length of the parts (hops) for which the mix is chosen.
HOP_SECONDS = 1.0
# The mean of the channels is used if it has this share of their mean power. Independent channels
# give 1 / channels, one empty channel of two gives 1/2, opposite phase gives 0.
LEAST_SHARE = 0.05
# Every fourth sample is enough for the statistics of a hop.
STATISTICS_STRIDE = 4
# Corner frequency of the offset filter: 0.04 dB at 10.8 Hz, the second bin of a usual STFT.
CORNER_HERTZ = 1.0
FILTER_CHUNK = 4096  # samples; bounds the weights, and only affects rounding


class MonoMixer:
  """Mix a stream of one sample rate to mono.

  The mix is the mean of the channels. Where they cancel, as after a polarity error, the channels
  that oppose the first in the strongest common signal are inverted. The mean of the first hop is
  subtracted everywhere, so that a constant offset makes no step at the beginning; `OffsetFilter`
  removes what remains.

  The first hop is returned when it is complete. Later samples are returned at once, with the mix
  that the hop before gives. The output depends on the audio alone, not on the blocks in which it
  arrives.

  Args:
    rate: Sample rate in Hz.
  """

  def __init__(self, rate: int):
    self._hop = max(1, round(HOP_SECONDS * rate))
    self._first: list[np.ndarray] = []  # blocks of the first hop
    self._weights: np.ndarray | None = None  # of the channels in the mix
    self._offsets = np.zeros(0)  # of the channels in the first hop
    self._at = 0  # samples of the current hop so far
    self._count = 0  # samples in the statistics of the current hop
    self._sums: np.ndarray | float = 0.0  # of the current hop: of the channels,
    self._products: np.ndarray | float = 0.0  # and of their products

  def push(self, values: np.ndarray) -> np.ndarray:
    """Add float32[channels, samples]; return float32[samples] as far as it is known."""
    if self._weights is not None:
      return self._mix(values)
    self._first.append(values)
    if sum(block.shape[1] for block in self._first) < self._hop:
      return np.zeros(0, np.float32)
    return self.flush()

  def flush(self) -> np.ndarray:
    """Return what waits for the first hop to be complete, float32[samples]; ends a short stream."""
    if not self._first:
      return np.zeros(0, np.float32)
    values = np.concatenate(self._first, axis=1)
    self._first = []
    first = values[:, : self._hop]
    self._offsets = first.mean(1, dtype=np.float64)
    self._weights = np.full(len(values), 1 / len(values), np.float32)
    self._choose_weights(_products(first) / first.shape[1], self._offsets)
    return self._mix(values)

  def _mix(self, values):
    mono = np.empty(values.shape[1], np.float32)
    done = 0
    while done < len(mono):
      count = min(self._hop - self._at, len(mono) - done)
      part, mixed = values[:, done : done + count], mono[done : done + count]
      np.matmul(self._weights, part, out=mixed)
      mixed -= np.float32(self._weights @ self._offsets)
      if len(values) > 1:
        some = part[:, -self._at % STATISTICS_STRIDE :: STATISTICS_STRIDE]
        self._count += some.shape[1]
        self._sums = self._sums + some.sum(1, dtype=np.float64)
        self._products = self._products + _products(some)
      self._at += count
      done += count
      if self._at == self._hop:
        if self._count:
          self._choose_weights(self._products / self._count, self._sums / self._count)
        self._at, self._count, self._sums, self._products = 0, 0, 0.0, 0.0
    return mono

  def _choose_weights(self, products, means):
    """Set the weights from the mean products and the means of the channels in a hop."""
    channels = len(self._weights)
    if channels == 1:
      return
    covariance = products - np.outer(means, means)
    power = np.trace(covariance) / channels
    if not np.isfinite(power) or power <= 0:
      return
    signs = np.ones(channels)
    if covariance.mean() < LEAST_SHARE * power:
      strongest = np.linalg.eigh(covariance)[1][:, -1]
      signs = np.where(strongest * strongest[0] < 0, -1.0, 1.0)
    self._weights = (signs / channels).astype(np.float32)


def _products(values: np.ndarray) -> np.ndarray:
  """Return the sums of the products of channels, float64[channels, channels]."""
  return (values @ values.T).astype(np.float64)


class OffsetFilter:
  """Remove a constant offset from a stream: a high-pass filter of first order.

  The output is x - c, where c follows x: c[n] = a c[n - 1] + (1 - a) x[n]. It depends on the audio
  alone, not on the blocks in which it arrives.

  Args:
    rate: Sample rate in Hz.
  """

  def __init__(self, rate: int):
    decay = math.exp(-2 * math.pi * CORNER_HERTZ / rate)
    self._chunk = max(1, min(FILTER_CHUNK, rate // 2))  # so that the weights stay in range
    weights = decay ** np.arange(1, self._chunk + 1)
    self._weights = weights.astype(np.float32)
    self._gains = ((1 - decay) / weights).astype(np.float32)
    self._level = np.float32(0)  # c at the beginning of the current chunk
    self._sum = np.float32(0)  # of the gained samples of the current chunk
    self._at = 0  # samples of the current chunk so far

  def push(self, samples: np.ndarray) -> np.ndarray:
    """Filter float32[samples]; return float32[samples]."""
    result = np.empty_like(samples)
    done = 0
    while done < len(samples):
      count = min(self._chunk - self._at, len(samples) - done)
      chunk = slice(self._at, self._at + count)
      part = samples[done : done + count]
      sums = part * self._gains[chunk]
      sums[0] += self._sum
      np.cumsum(sums, out=sums)
      self._sum = sums[-1]
      sums += self._level
      sums *= self._weights[chunk]
      np.subtract(part, sums, out=result[done : done + count])
      self._at += count
      done += count
      if self._at == self._chunk:
        self._level, self._sum, self._at = sums[-1], np.float32(0), 0
    return result
