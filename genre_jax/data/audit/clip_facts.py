"""What one clip is like, for the audit: readable, silent, clipped, broken off, and its landmarks.

After the sources in the flow. A clip that is a file is decoded once, for its samples and its
landmarks; of one that is only a spectrogram, samples stay unknown. What goes wrong with a clip
becomes a reason, never an error.
"""

import dataclasses
import hashlib

import numpy as np
import soundfile
import soxr

from genre_jax.data import audio, log_mel
from genre_jax.data.audit.landmarks import DENSE, Landmarks, find_landmarks
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.source import Clip, Reader, Source, check_not_silent
from genre_jax.data.sources.mel_archive import MelArchiveReader
from genre_jax.errors import UserError

# Silence is looked for in windows of this length.
WINDOW_SECONDS = 0.1
# A clipped peak is flat: at least so many samples in a row at the clip's largest value.
FLAT_SAMPLES = 3
# Steps of 16-bit audio by which they may differ: one for dither.
FLAT_STEPS = 1.5 * 2.0**-15


@dataclasses.dataclass(frozen=True)
class ClipFacts:
  """What was found out about one clip.

  Attributes:
    track: its name.
    reason: why it cannot be used; '' where it can.
    seconds: its length.
    content: hash of the decoded samples, or of the spectrogram where there are none.
    peak: largest sample; None where samples are unknown.
    flat_share: share of samples in flat peaks; None where samples are unknown.
    silent_seconds: digital silence altogether.
    silent_end_seconds: digital silence at the end.
    landmarks: for finding its copies; None where it cannot be used.
  """

  track: str
  reason: str = ""
  seconds: float = 0.0
  content: str = ""
  peak: float | None = None
  flat_share: float | None = None
  silent_seconds: float = 0.0
  silent_end_seconds: float = 0.0
  landmarks: Landmarks | None = None


def analysis_config(reader: Reader, frontend: FrontendConfig) -> FrontendConfig:
  """How a source is heard by the audit: densely where it holds sound, else as it was stored."""
  return frontend if isinstance(reader, MelArchiveReader) else DENSE


def knows_samples(source: Source) -> bool:
  """Whether clips are files, so that samples, and with them level and clipping, are known."""
  return any(clip.path for clip in source.clips)


def examine(reader: Reader, clip: Clip, frontend: FrontendConfig) -> ClipFacts:
  """Reads one clip and finds out what it is like; never raises for what the clip holds.

  Args:
    reader: of the source.
    clip: of the source.
    recipe: what `hearing` returned.
  """
  try:
    if clip.path:
      return _examine_file(clip, frontend)
    return _examine_spectrogram(reader, clip, frontend)
  except audio.UnreadableAudio as error:
    return ClipFacts(clip.track, error.reason)
  except UserError:
    raise
  except Exception as error:  # one clip never stops the audit of a hundred thousand
    return ClipFacts(clip.track, f"cannot be examined: {type(error).__name__}: {error}"[:300])


def examine_all(reader: Reader, clips: list[Clip], frontend: FrontendConfig) -> list[ClipFacts]:
  """A worker's unit."""
  return [examine(reader, clip, frontend) for clip in clips]


def _examine_spectrogram(reader, clip, frontend):
  """Facts of a clip that has no file: what its spectrogram shows."""
  levels = reader.log_mel(clip, frontend)
  if not len(levels):
    raise audio.UnreadableAudio("has no frames")
  # A frame of nothing lies whole on the floor; a quiet one has some band above it.
  silent = (levels == levels.min()).all(axis=1)
  frame = frontend.seconds_per_frame
  return ClipFacts(
    clip.track,
    seconds=len(levels) * frame,
    content=hashlib.sha256(levels.tobytes()).hexdigest(),
    silent_seconds=float(silent.sum() * frame),
    silent_end_seconds=_at_end(silent) * frame,
    landmarks=find_landmarks(levels, frontend.frame_rate),
  )


def _examine_file(clip, frontend):
  """Facts of an audio file, decoded block by block at its own rate."""
  samples = SampleFacts()
  rate = _sample_rate(clip.path, frontend.sample_rate)
  resampler = None
  if rate != frontend.sample_rate:
    resampler = soxr.ResampleStream(rate, frontend.sample_rate, 1, dtype="float32")

  def blocks():
    for block in audio.read_blocks(clip.path, rate):
      samples.push(block, rate)
      if resampler is not None:
        block = resampler.resample_chunk(block)
      if len(block):
        yield block
    if resampler is not None:
      block = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
      if len(block):
        yield block

  levels = log_mel.log_mel_blocks(blocks(), frontend)
  check_not_silent(samples.peak)
  if not len(levels):
    raise audio.UnreadableAudio("is too short for one frame")
  silent = np.concatenate(samples.window_peaks) < audio.SILENT_PEAK
  window = WINDOW_SECONDS
  return ClipFacts(
    clip.track,
    seconds=samples.count / rate,
    content=samples.digest.hexdigest(),
    peak=samples.peak,
    flat_share=samples.flat / samples.count,
    silent_seconds=float(silent.sum() * window),
    silent_end_seconds=_at_end(silent) * window,
    landmarks=find_landmarks(levels, frontend.frame_rate),
  )


def _sample_rate(path, default):
  """Hz of a file; the default where it cannot be opened, which reading it then explains."""
  try:
    return soundfile.info(path).samplerate
  except (OSError, RuntimeError):
    return default


def _at_end(flags):
  """How many of the last flags are set without a gap."""
  unset = np.flatnonzero(~flags)
  return int(len(flags) if not len(unset) else len(flags) - 1 - unset[-1])


class SampleFacts:
  """Peak, flat peaks, silence and a hash of samples that come block by block, in one pass.

  Attributes:
    count: samples.
    peak: largest size of a sample.
    flat: samples in runs of FLAT_SAMPLES or more at that size.
    window_peaks: list of float32[windows].
    digest: sha256 of the samples.
  """

  def __init__(self):
    self.count, self.peak, self.flat = 0, 0.0, 0
    self.window_peaks = []
    self.digest = hashlib.sha256()

  def push(self, block: np.ndarray, rate: int) -> None:
    """Takes float32[samples], not empty. A run that crosses two blocks counts as two."""
    self.count += len(block)
    self.digest.update(block.tobytes())
    size = np.abs(block)
    peak = float(size.max())
    if peak > self.peak + FLAT_STEPS:
      self.flat = 0
    self.peak = max(self.peak, peak)
    at_peak = np.concatenate([[False], size >= self.peak - FLAT_STEPS, [False]])
    edges = np.flatnonzero(at_peak[1:] != at_peak[:-1])
    lengths = edges[1::2] - edges[::2]
    self.flat += int(lengths[lengths >= FLAT_SAMPLES].sum())
    window = max(1, int(WINDOW_SECONDS * rate))
    self.window_peaks.append(np.maximum.reduceat(size, np.arange(0, len(size), window)))
