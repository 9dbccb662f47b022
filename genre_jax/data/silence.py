"""Leave the silent stretches of a track out: they are no evidence of a genre.

A stretch is silent if it stays 60 dB below the track's loudest second, or below one step of 16-bit
audio, for at least one second. Prepared sets, predictions and pages leave such stretches out. They
are cut out of the samples, so that the frames of the music are those of the same music without
silence. Archives have no samples, so frames are left out. The streaming classifier cannot know the
loudest second and uses an absolute level instead.
"""

import numpy as np

from genre_jax.data.frontend import FrontendConfig

SILENCE_DB = 60.0
SECONDS = 1.0  # length of the loudest part, and shortest silent stretch
SHARE = 10 ** (-SILENCE_DB / 10)
SILENT_PEAK = 2.0**-15  # one step of 16-bit audio: below it is digital silence, maybe with dither
HOPS = 1000  # in which the power of samples is measured, per second


def frame_energies(mel_power: np.ndarray) -> np.ndarray:
  """Return the energy of frames, float64[frames], of mel power, float32[frames, n_mels]."""
  return mel_power.sum(axis=1, dtype=np.float64)


def sounding_frames(energies: np.ndarray, frame_rate: float) -> np.ndarray:
  """Return which frames of a track contain sound.

  Args:
    energies: float64[frames], as of `frame_energies`.
    frame_rate: Frames per second.

  Returns:
    bool[frames]; False in stretches of at least a second whose frames are all 60 dB below the mean
    of the loudest second.
  """
  length = max(1, round(SECONDS * frame_rate))
  if not len(energies):
    return np.zeros(0, bool)
  sums = np.concatenate([[0.0], np.cumsum(energies)])
  width = min(length, len(energies))
  loudest = float((sums[width:] - sums[:-width]).max()) / width
  quiet = np.concatenate([[False], energies <= loudest * SHARE, [False]])
  sounding = np.ones(len(energies), bool)
  edges = np.flatnonzero(quiet[1:] != quiet[:-1])
  for start, end in zip(edges[::2], edges[1::2], strict=True):
    if end - start >= length:
      sounding[start:end] = False
  return sounding


def without_silence(log_mel: np.ndarray, frontend: FrontendConfig) -> np.ndarray:
  """Return the frames of a clip that contain sound.

  Args:
    log_mel: float32[frames, n_mels], compressed as the front end says.
    frontend: Front end.

  Returns:
    float32[sounding frames, n_mels].
  """
  exact = log_mel.astype(np.float64)
  if frontend.compression == "log10_10000":
    power = (10**exact - 1) / 10000
  else:
    power = 10 ** (exact / 10)
    if frontend.top_db:  # many bands at the floor are not a sound
      power -= power.min()
  sounding = sounding_frames(frame_energies(power), frontend.frame_rate)
  return log_mel if sounding.all() else log_mel[sounding]


class SilenceCutter:
  """Cut silent stretches out of a stream of samples.

  The loudest second is that of the audio so far. What comes before it and is silent in comparison
  is kept: if that matters, cut the audio again with the final `loudest`.

  Args:
    rate: Sample rate in Hz.
    loudest: Mean power of the loudest second, if it is known.

  Attributes:
    loudest: Mean power of the loudest second so far.
    samples: Number of samples so far, silence included.
    pieces: [first sample, number of samples] of each piece that was returned, in samples of the
      input.
  """

  def __init__(self, rate: int, loudest: float = 0.0):
    self.loudest, self.samples = loudest, 0
    self.pieces: list[list[int]] = []
    self._hop = max(1, round(rate / HOPS))
    self._hops = max(1, round(SECONDS * rate / self._hop))  # in a second
    self._recent = np.zeros(self._hops)  # power of the last second
    self._rest = np.zeros(0, np.float32)  # samples of an incomplete hop
    self._quiet: list[np.ndarray] = []  # pieces of the current quiet run, empty if it is long
    self._quiet_samples = 0

  def push(self, samples: np.ndarray) -> np.ndarray:
    """Add float32[samples]; return those that are known to contain sound."""
    self.samples += len(samples)
    samples = np.concatenate([self._rest, samples])
    count = len(samples) // self._hop
    self._rest = samples[count * self._hop :]
    if not count:
      return np.zeros(0, np.float32)
    samples = samples[: count * self._hop]
    hops = samples.reshape(count, self._hop)
    power = np.einsum("ij,ij->i", hops, hops).astype(np.float64) / self._hop
    known = np.concatenate([self._recent, power])
    sums = np.concatenate([[0.0], np.cumsum(known)])
    means = (sums[self._hops :] - sums[: -self._hops])[1:] / self._hops
    loudest = np.maximum.accumulate(np.maximum(means, self.loudest))
    self._recent, self.loudest = known[-self._hops :], float(loudest[-1])
    quiet = power <= np.maximum(loudest * SHARE, SILENT_PEAK**2)
    if not quiet.any() and not self._quiet_samples:  # most music
      return self._piece([samples], self.samples - len(self._rest) - len(samples))
    edges = np.flatnonzero(quiet[1:] != quiet[:-1]) + 1
    results, at = [], self.samples - len(self._rest) - len(samples)
    for run, first in zip(np.split(hops, edges), [0, *edges], strict=True):
      if quiet[first]:
        self._add_quiet(run.reshape(-1))
      else:
        results.append(self._piece([*self._quiet, run.reshape(-1)], at - self._waiting()))
        self._quiet, self._quiet_samples = [], 0
      at += run.size
    return np.concatenate(results) if results else np.zeros(0, np.float32)

  def flush(self) -> np.ndarray:
    """End the audio; return its last samples with sound."""
    rest, self._rest = self._rest, np.zeros(0, np.float32)
    if self._quiet_samples >= self._hops * self._hop:
      return np.zeros(0, np.float32)
    waiting = self._waiting()
    return self._piece([*self._quiet, rest], self.samples - len(rest) - waiting)

  def _waiting(self):
    return sum(map(len, self._quiet))

  def _add_quiet(self, samples):
    self._quiet_samples += len(samples)
    self._quiet.append(samples)
    if self._quiet_samples >= self._hops * self._hop:
      self._quiet = []

  def _piece(self, parts, first):
    """Return joined parts of the audio and note where they come from."""
    piece = np.concatenate(parts)
    if self.pieces and sum(self.pieces[-1]) == first:
      self.pieces[-1][1] += len(piece)
    elif len(piece):
      self.pieces.append([first, len(piece)])
    return piece

  def positions(self, samples: np.ndarray) -> np.ndarray:
    """Return where samples of the output are in the input.

    Args:
      samples: int or float[n], numbers of samples of the output.
    """
    first, length = np.array(self.pieces or [[0, 0]]).T
    starts = np.cumsum(length) - length
    piece = np.clip(np.searchsorted(starts, samples, side="right") - 1, 0, None)
    return samples - starts[piece] + first[piece]
