"""Leave the silent stretches of a track out: they are no evidence of a genre.

A stretch is silent if for at least one second it stays 60 dB below the track's loudest second. If
that is above -30 dBFS, it is also silent below one step of 16-bit audio, or below -60 dBFS and 40
dB below that second. Prepared sets,
predictions and pages leave such stretches out. They are cut out of the samples, so that the frames
of the music are those of the same music without silence. Archives have no samples, so frames 60 dB
below the loudest second are left out. The streaming classifier cannot know the loudest second and
uses an absolute level instead.
"""

from collections.abc import Iterator

import numpy as np

from genre_jax.data.frontend import FrontendConfig

SILENCE_DB = 60.0
SECONDS = 1.0  # length of the loudest part, and shortest silent stretch
SHARE = 10 ** (-SILENCE_DB / 10)
# Hiss below this power is silence if it is also this far below the loudest second.
HISS_POWER, HISS_SHARE = 1e-6, 1e-4
# In a track whose loudest second is below this power, quiet music would be below absolute limits: a
# gain must not change what is silent.
QUIET_TRACK_POWER = 1e-3
# The power of noise in a hop of a millisecond is up to 6 dB above its mean.
HOP_MARGIN = 4.0
SILENT_PEAK = 2.0**-15  # one step of 16-bit audio: below it is digital silence, maybe with dither
GROUP_HOPS = 50
ROUNDING_SHARE = 1e-9  # of the square of equal samples: more than rounding adds to their variance
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
  elif frontend.compression == "ln_0.001":
    power = np.exp(exact) - 0.001
  elif frontend.compression == "waveform":
    power = exact**2
  else:
    power = 10 ** (exact / 10)
    if frontend.top_db:  # many bands at the floor are not a sound
      power -= power.min()
  sounding = sounding_frames(frame_energies(power), frontend.frame_rate)
  return log_mel if sounding.all() else log_mel[sounding]


class DigitalSilenceCutter:
  """Cut runs of equal samples of at least a second out of a stream, exactly.

  This comes before resampling, which would smear sound into them.

  Args:
    rate: Sample rate in Hz.
  """

  def __init__(self, rate: int):
    self._rate = rate
    self._value = np.zeros(1, np.float32)  # the last sample
    self._run = 0  # length of the run of equal samples at the end
    self._waiting = 0  # how much of it was neither returned nor cut

  def push(self, samples: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Add float32[samples].

    Yields:
      (float32[samples], number of samples that were cut after them).
    """
    if not len(samples):
      return
    same = _constant(samples, self._value[0]) if self._run else 0
    if self._run + same >= self._rate:
      cut = self._waiting + same
      self._run, self._waiting = self._run + same, 0
      yield samples[:0], cut
      samples = samples[same:]
      if not len(samples):
        return
    else:
      samples = np.concatenate([np.repeat(self._value, self._waiting), samples])
    half = max(1, self._rate // 2)
    if (samples[half::half] == samples[:-half:half]).any():
      edges = np.concatenate([[0], np.flatnonzero(samples[1:] != samples[:-1]) + 1, [len(samples)]])
      long_runs = np.flatnonzero(np.diff(edges)[:-1] >= self._rate)
    else:  # no run is as long: only the last one matters
      edges = np.array([len(samples) - _constant(samples[::-1], samples[-1]), len(samples)])
      long_runs = edges[:0]
    start = 0
    for run in long_runs:
      yield samples[start : edges[run]], int(edges[run + 1] - edges[run])
      start = edges[run + 1]
    self._value, self._run = samples[-1:].copy(), int(edges[-1] - edges[-2])
    self._waiting = self._run if self._run < self._rate else 0
    yield samples[start : edges[-2]], self._run - self._waiting

  def flush(self) -> np.ndarray:
    """End the stream; return the samples that were waiting."""
    return np.repeat(self._value, self._waiting)


class SilenceCutter:
  """Cut silent stretches out of a stream of samples.

  The loudest second is that of the audio so far. What comes before it and is silent in comparison
  is kept: if that matters, cut the audio again with the final `loudest`.

  Args:
    rate: Sample rate in Hz.
    loudest: Variance of the loudest second, if it is known.

  Attributes:
    loudest: Variance of the loudest second so far.
    samples: Number of samples so far, silence included.
    pieces: [first sample, number of samples] of each piece that was returned, in samples of the
      input.
  """

  def __init__(self, rate: int, loudest: float = 0.0):
    self.loudest, self.samples, self._skipped = loudest, 0, 0
    self.pieces: list[list[int]] = []
    self._hop = max(1, round(rate / HOPS))
    self._hops = max(1, round(SECONDS * rate / self._hop))  # in a second
    self._recent = np.zeros((2, self._hops))  # mean square and mean of the hops of a second
    self._rest = np.zeros(0, np.float32)  # samples of the last whole hop and of an incomplete one
    self._constant_before = False  # whether the hop before was digital silence
    # The last hop with sound waits: where it ends depends on whether silence follows.
    self._tail = np.zeros(0, np.float32)
    self._quiet: list[np.ndarray] = []  # pieces of the current quiet run, empty if it is long
    self._quiet_samples = 0
    self._groups: list[np.ndarray] = []  # largest power of a hop in groups of hops
    self._group_hops: list[np.ndarray] = []  # number of hops in each group
    self._last = 0.0  # last sample of the current quiet run

  def push(self, samples: np.ndarray) -> np.ndarray:
    """Add float32[samples]; return those that are known to contain sound."""
    self.samples += len(samples)
    samples = np.concatenate([self._rest, samples])
    # What a hop is depends on the next one.
    count = max(0, len(samples) // self._hop - 1) * self._hop
    self._rest = samples[count:]
    return self._cut(samples[:count])

  def flush(self) -> np.ndarray:
    """End the audio; return its last samples with sound."""
    if self._is_silence():
      return np.zeros(0, np.float32)
    parts = [self._tail, *self._quiet, self._rest]
    return self._piece(parts, self.samples - sum(map(len, parts)))

  def skip(self, samples: int) -> np.ndarray:
    """Say that this many samples were cut before they came here; return those that waited."""
    kept = self.flush()
    self._tail = self._rest = np.zeros(0, np.float32)
    self._quiet, self._quiet_samples = [], 0
    self.samples += samples
    self._skipped += samples
    return kept

  def _cut(self, samples):
    """Return the samples of whole hops that are known to contain sound."""
    if not len(samples):
      return np.zeros(0, np.float32)
    hops = samples.reshape(-1, self._hop)
    # The variance, because silence may have an offset.
    means = hops.mean(1, keepdims=True)
    power = np.square(hops - means).mean(1, dtype=np.float64)
    means = means[:, 0].astype(np.float64)
    known = np.concatenate([self._recent, np.stack([power + means**2, means])], axis=1)
    sums = np.pad(np.cumsum(known, axis=1), ((0, 0), (1, 0)))
    squares, firsts = (sums[:, self._hops + 1 :] - sums[:, 1 : -self._hops]) / self._hops
    loudest = np.maximum.accumulate(np.maximum(squares - firsts**2, self.loudest))
    self._recent, self.loudest = known[:, -self._hops :], float(loudest[-1])
    quiet = (power <= _limit(loudest)) & ~self._ends_in_digital_silence(hops, power, means)
    quiet = _without_pauses(quiet, self._hops)
    groups = np.arange(0, len(power), GROUP_HOPS)
    self._groups.append(np.maximum.reduceat(power, groups))
    self._group_hops.append(np.diff(np.append(groups, len(power))))
    start = self.samples - len(self._rest) - len(samples)
    tail, self._tail = self._tail, np.zeros(0, np.float32)
    kept = len(tail) - (_constant(tail[::-1], samples[0]) if quiet[0] else 0)
    results = [self._piece([tail[:kept]], start - len(tail))]
    self._add_quiet(tail[kept:])
    for first, last, is_quiet in self._runs(samples, quiet):
      if is_quiet:
        self._add_quiet(samples[first:last])
        continue
      if last == len(samples):
        last = max(first, last - self._hop)
        self._tail = samples[last:]
      at = start + first - sum(map(len, self._quiet))
      results.append(self._piece([*self._quiet, samples[first:last]], at))
      self._quiet, self._quiet_samples = [], 0
    return np.concatenate(results)

  def _ends_in_digital_silence(self, hops, power, means):
    """Return which hops have both sound and samples of digital silence, which may be beside them.

    They count as sound, of which the constant samples are cut; as silence, their sound would be.
    """
    constant = np.zeros(len(hops) + 2, bool)
    constant[0], constant[-1] = self._constant_before, np.ptp(self._rest[: self._hop]) == 0
    # Of equal samples, the variance is what rounding leaves. Few hops are so even.
    even = np.flatnonzero(power <= ROUNDING_SHARE * means**2)
    constant[1 + even] = np.ptp(hops[even], axis=1) == 0
    self._constant_before = bool(constant[-2])
    beside = np.flatnonzero(constant[:-2] | constant[2:])
    ends = np.zeros(len(hops), bool)
    ends[beside] = np.ptp(hops[beside], axis=1) > 2 * SILENT_PEAK
    return ends

  def _add_quiet(self, samples):
    if not len(samples):
      return
    self._quiet_samples += len(samples)
    self._quiet.append(samples)
    self._last = samples[-1]
    if self._is_silence():
      self._quiet = []

  def _runs(self, samples, quiet):
    """Yield (first sample, last, is quiet) of runs of hops.

    Samples of a hop with sound that equal those of the quiet run beside it belong to that run, so
    digital silence is cut to the sample.
    """
    edges = [0, *(np.flatnonzero(quiet[1:] != quiet[:-1]) + 1), len(quiet)]
    first = 0
    if not quiet[0] and self._quiet_samples:  # sound after a quiet run of an earlier block
      first = _constant(samples[: self._hop], self._last)
      yield 0, first, True
    for edge, is_quiet in zip(edges[1:], quiet[edges[:-1]], strict=True):
      last = edge * self._hop
      if edge < len(quiet) and is_quiet:
        last += _constant(samples[last : last + self._hop], samples[last - 1])
      elif edge < len(quiet):
        last -= _constant(samples[last - self._hop : last][::-1], samples[last])
      yield first, last, is_quiet
      first = last

  def _is_silence(self):
    return self._quiet_samples >= self._hops * self._hop

  def _piece(self, parts, first):
    """Return joined parts of the audio and note where they come from."""
    piece = np.concatenate(parts)
    if self.pieces and sum(self.pieces[-1]) == first:
      self.pieces[-1][1] += len(piece)
    elif len(piece):
      self.pieces.append([first, len(piece)])
    return piece

  def misses_silence(self) -> bool:
    """Return True if the final loudest second shows silence that was not cut."""
    if not self._groups:
      return False
    quiet = np.concatenate(self._groups) <= _limit(np.array(self.loudest))
    hops = np.concatenate(self._group_hops)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet.astype(int), [0]])))
    runs = [hops[start:end].sum() for start, end in zip(edges[::2], edges[1::2], strict=True)]
    silent = sum(run for run in runs if run >= self._hops) * self._hop
    cut = self.samples - self._skipped - sum(length for _, length in self.pieces)
    return silent > cut + self._hops * self._hop // 2

  def positions(self, samples: np.ndarray) -> np.ndarray:
    """Return where samples of the output are in the input.

    Args:
      samples: int or float[n], numbers of samples of the output.
    """
    first, length = np.array(self.pieces or [[0, 0]]).T
    starts = np.cumsum(length) - length
    piece = np.clip(np.searchsorted(starts, samples, side="right") - 1, 0, None)
    return samples - starts[piece] + first[piece]


def _limit(loudest: np.ndarray) -> np.ndarray:
  """Return the largest power of a hop in silence, given the power of the loudest second."""
  hiss = HOP_MARGIN * np.minimum(HISS_POWER, loudest * HISS_SHARE)
  absolute = np.where(loudest >= QUIET_TRACK_POWER, np.maximum(hiss, SILENT_PEAK**2), 0)
  return np.maximum(HOP_MARGIN * SHARE * loudest, absolute)


def _without_pauses(quiet: np.ndarray, hops: int) -> np.ndarray:
  """Return quiet hops without the runs that end before they are a silent stretch.

  Args:
    quiet: bool[n].
    hops: Length of a silent stretch.
  """
  edges = np.concatenate([[0], np.flatnonzero(quiet[1:] != quiet[:-1]) + 1, [len(quiet)]])
  lengths, is_quiet = np.diff(edges), quiet[edges[:-1]]
  # The first and the last may continue; each side may get equal samples of the hop beside it.
  is_quiet[1:-1] &= lengths[1:-1] >= hops - 2
  return np.repeat(is_quiet, lengths)


def _constant(samples, value):
  """Return the number of first samples that equal a value."""
  if not len(samples) or samples[0] != value:
    return 0
  return int(np.argmax(np.append(samples, value + 1) != value))
