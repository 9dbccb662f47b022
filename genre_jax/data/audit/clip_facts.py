"""Examine one clip for the audit: is it readable, silent, clipped, truncated; its landmarks.

A clip that is a file is decoded once, for its samples and its landmarks. The samples of a clip that
is only a spectrogram are unknown. A clip that fails gets a reason, not an exception.
"""

import dataclasses
import hashlib

import numpy as np
import soxr

from genre_jax.data import audio, decoder, log_mel
from genre_jax.data.audit.landmarks import DENSE, Landmarks, find_landmarks
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.silence import SILENT_PEAK
from genre_jax.data.source import Clip, Reader, Source, check_not_silent
from genre_jax.data.sources.mel_archive import MelArchiveReader
from genre_jax.errors import UserError

# Length of the blocks in which silence is searched.
BLOCK_SECONDS = 0.1
# A clipped peak is flat: at least this number of consecutive samples at the clip's largest value.
FLAT_SAMPLES = 3
# Allowed difference of these samples: 1.5 steps of 16-bit audio, for dither.
FLAT_STEPS = 1.5 * 2.0**-15


@dataclasses.dataclass(frozen=True)
class ClipFacts:
  """Facts of one clip.

  Attributes:
    track: Name of the track.
    reason: Why it cannot be used; '' if it can.
    seconds: Length.
    content: Hash of the decoded samples, or of the spectrogram if there are none.
    peak: Largest absolute sample; None if samples are unknown.
    flat_share: Share of samples in flat peaks; None if samples are unknown.
    silent_seconds: Total digital silence.
    silent_end_seconds: Digital silence at the end.
    landmarks: Landmarks, to find copies; None if the clip cannot be used.
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
  """Return the front end of the audit: every frame of audio, or that of stored spectrograms."""
  return frontend if isinstance(reader, MelArchiveReader) else DENSE


def knows_samples(source: Source) -> bool:
  """Return True if clips are files, so that samples, level and clipping are known."""
  return any(clip.path for clip in source.clips)


def examine(reader: Reader, clip: Clip, frontend: FrontendConfig) -> ClipFacts:
  """Return the facts of one clip; a clip that fails gets a reason.

  Args:
    reader: Reader of the source.
    clip: Clip of the source.
    frontend: Result of `analysis_config`.

  Raises:
    UserError: If the front end disagrees with a mel_archive.
  """
  try:
    if clip.path:
      return _examine_file(clip, frontend)
    return _examine_spectrogram(reader, clip, frontend)
  except audio.UnreadableAudio as error:
    return ClipFacts(clip.track, error.reason)
  except UserError:
    raise
  except Exception as error:  # one clip does not stop the audit
    return ClipFacts(clip.track, f"cannot be examined: {type(error).__name__}: {error}"[:300])


def examine_all(reader: Reader, clips: list[Clip], frontend: FrontendConfig) -> list[ClipFacts]:
  """Return the facts of some clips; runs in a worker."""
  return [examine(reader, clip, frontend) for clip in clips]


def _examine_spectrogram(reader, clip, frontend):
  """Return the facts of a clip without a file, from its spectrogram."""
  levels = reader.log_mel(clip, frontend)
  if not len(levels):
    raise audio.UnreadableAudio("has no frames")
  # In a silent frame all bands are at the floor; a quiet frame has some band above it.
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
  """Return the facts of an audio file, decoded block by block at its own rate."""
  samples = SampleFacts()
  notes: list[str] = []
  rate = decoder.sample_rate(clip.path)
  resampler = None
  if rate != frontend.sample_rate:
    resampler = soxr.ResampleStream(rate, frontend.sample_rate, 1, dtype="float32")

  def blocks():
    for block in audio.read_blocks(clip.path, rate, notes=notes, plain_mean=True):
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
  if notes:
    raise audio.UnreadableAudio("; ".join(notes))
  if not len(levels):
    raise audio.UnreadableAudio("is too short for one frame")
  silent = np.concatenate(samples.block_peaks) < SILENT_PEAK
  return ClipFacts(
    clip.track,
    seconds=samples.count / rate,
    content=samples.digest.hexdigest(),
    peak=samples.peak,
    flat_share=samples.flat / samples.count,
    silent_seconds=float(silent.sum() * BLOCK_SECONDS),
    silent_end_seconds=_at_end(silent) * BLOCK_SECONDS,
    landmarks=find_landmarks(levels, frontend.frame_rate),
  )


def _at_end(flags):
  """Return the number of consecutive True flags at the end."""
  unset = np.flatnonzero(~flags)
  return int(len(flags) if not len(unset) else len(flags) - 1 - unset[-1])


class SampleFacts:
  """Peak, flat peaks, silence and a hash of samples, computed in one pass over blocks.

  Attributes:
    count: Number of samples.
    peak: Largest absolute sample.
    flat: Number of samples in runs of at least FLAT_SAMPLES at the peak.
    block_peaks: List of float32[blocks]: peaks of blocks of BLOCK_SECONDS.
    digest: sha256 of the samples.
  """

  def __init__(self):
    self.count, self.peak, self.flat = 0, 0.0, 0
    self.block_peaks = []
    self.digest = hashlib.sha256()

  def push(self, block: np.ndarray, rate: int) -> None:
    """Add float32[samples], not empty. A run that crosses two pushed blocks counts as two runs."""
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
    length = max(1, int(BLOCK_SECONDS * rate))
    self.block_peaks.append(np.maximum.reduceat(size, np.arange(0, len(size), length)))
