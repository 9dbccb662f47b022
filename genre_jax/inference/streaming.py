"""Classify live audio: `stream`.

A `StreamingClassifier` predicts the last seconds of the audio. Its predictions depend on the audio
alone, not on the blocks in which it arrives.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from genre_jax.data.audio import LOUDEST
from genre_jax.data.mono import MonoMixer, OffsetFilter
from genre_jax.errors import UserError
from genre_jax.inference import model_dir
from genre_jax.inference.frame_stream import FrameStream
from genre_jax.inference.model import Model, load
from genre_jax.inference.predict_files import SILENCE, probabilities_by_class
from genre_jax.inference.track_log_mel import stack_segments

# Measured on medleys (benchmarks/stream.py): the length used in training, 7.4 s, follows changes
# more slowly.
SEGMENT_SECONDS = 3.0
MAX_SEGMENT_SECONDS = 600.0  # bounds memory
# Samples per call of the resampler. Its output depends on the sizes of earlier calls, so the size
# is fixed.
RESAMPLER_BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class Update:
  """Prediction for the last segment of a stream.

  Attributes:
    seconds: End of the segment in seconds from the start of the audio.
    genre: The genre, 'unknown', 'silence', or tags joined by ';'.
    confidence: Highest probability; 0 for silence.
    probabilities: Probability of each class, smoothed; {} for silence.
  """

  seconds: float
  genre: str
  confidence: float
  probabilities: dict[str, float]


class StreamingClassifier:
  """Classify audio that arrives in blocks.

  Args:
    model: The loaded model.
    segment_seconds: Length of the audio for one prediction; 0 for the length used in training. None
      means 3 s, or the length used in training if that is shorter.
    smoothing_seconds: Time constant of the smoothing: 63 % of a change of the probabilities appear
      after it. 0 does not smooth.
    update_seconds: Least time between two updates.
    min_confidence: Below this probability the genre is 'unknown'.

  Attributes:
    segment_seconds: The length in use, rounded to frames.

  Raises:
    UserError: If a number is out of range, or if the network depends on the level and the front end
      takes the level from the maximum of a clip.
  """

  def __init__(
    self,
    model: Model,
    *,
    segment_seconds: float | None = None,
    smoothing_seconds: float = 0.0,
    update_seconds: float = 0.1,
    min_confidence: float = 0.0,
  ):
    frontend = model.frontend
    if segment_seconds is None:
      segment_seconds = min(SEGMENT_SECONDS, frontend.segment_seconds)
    for name, value, largest in (
      ("segment_seconds", segment_seconds, MAX_SEGMENT_SECONDS),
      ("smoothing", smoothing_seconds, 3600.0),
      ("update", update_seconds, 3600.0),
      ("min_confidence", min_confidence, 1.0),
    ):
      if not 0 <= value <= largest:
        raise UserError(f"--{name}={value}: give a number from 0 to {largest:g}")
    if frontend.db_ref == "max" and frontend.compression == "db" and _depends_on_gain(model):
      raise UserError(
        f"--model={model.name} needs the maximum level of the whole clip, which a stream cannot"
        " know; train it with --config.frontend.db_ref=full_scale --config.frontend.top_db=0"
      )
    self._model, self._frames = model, FrameStream(frontend)
    self._length = round(segment_seconds * frontend.frame_rate) or frontend.num_frames  # frames
    self._segment = np.zeros((0, frontend.n_mels), np.float32)  # the last frames of whole steps
    self._step = max(1, math.ceil(update_seconds * frontend.frame_rate - 1e-6))  # frames
    self.segment_seconds = self._length * frontend.seconds_per_frame
    step_seconds = self._step * frontend.seconds_per_frame
    self._new_share = 1 - math.exp(-step_seconds / smoothing_seconds) if smoothing_seconds else 1.0
    self._update_seconds = update_seconds
    self._min_confidence = min_confidence
    self._waiting = np.zeros((0, frontend.n_mels), np.float32)  # frames of the next step
    self._powers = np.zeros(0, np.float32)  # largest power of each frame of segment and waiting
    self._processed = 0  # frames in steps so far
    self._smoothed: np.ndarray | None = None
    self._last_update = -math.inf  # seconds

  def push(self, block: np.ndarray) -> list[Update]:
    """Process float32[samples] at the model's sample rate and return the updates that are due."""
    return self._process(*self._frames.push(block))

  def flush(self) -> list[Update]:
    """End the audio and return the last updates."""
    return self._process(*self._frames.flush())

  def _process(self, frames, powers):
    self._waiting = np.concatenate([self._waiting, frames])
    self._powers = np.concatenate([self._powers, powers])
    step, updates = self._step, []
    while len(self._waiting) >= step:
      self._segment = np.concatenate([self._segment, self._waiting[:step]])[-self._length :]
      self._waiting = self._waiting[step:]
      self._processed += step
      if update := self._predict():
        updates.append(update)
    return updates

  def _predict(self) -> Update | None:
    """Predict the segment and smooth the probabilities; return an Update if one is due."""
    model = self._model
    in_steps = len(self._powers) - len(self._waiting)
    self._powers = self._powers[max(0, in_steps - self._length) :]
    in_steps = min(in_steps, self._length)
    silent = self._powers[:in_steps].max() < self._frames.silent_power
    seconds = self._processed * model.frontend.seconds_per_frame
    due = seconds - self._last_update >= self._update_seconds - 1e-9
    if silent:
      self._smoothed = None
    else:
      logits = model.logits(*stack_segments([self._segment], self._length))[0]
      now = model.calibrated(model.probabilities(logits))
      if self._smoothed is None:
        self._smoothed = now
      else:
        self._smoothed = self._smoothed + self._new_share * (now - self._smoothed)
    if not due:
      return None
    self._last_update = seconds
    if self._smoothed is None:
      return Update(seconds, SILENCE, 0.0, {})
    genre, confidence = model.decide_label(self._smoothed, self._min_confidence)
    return Update(seconds, genre, confidence, probabilities_by_class(model, self._smoothed))


def stream(
  blocks: Iterable[np.ndarray],
  model: str | Model = model_dir.DEFAULT_MODEL,
  *,
  sample_rate: int | None = None,
  segment_seconds: float | None = None,
  smoothing_seconds: float = 0.0,
  update_seconds: float = 0.1,
  min_confidence: float = 0.0,
  converted: bool = False,
) -> Iterator[Update]:
  """Classify audio as it arrives.

  Args:
    blocks: float[samples] or float[samples, channels] each, of any length.
    model: A value of --model, or a loaded Model.
    sample_rate: Sample rate of the blocks in Hz; None for that of the model.
    segment_seconds: See `StreamingClassifier`.
    smoothing_seconds: See `StreamingClassifier`.
    update_seconds: See `StreamingClassifier`.
    min_confidence: See `StreamingClassifier`.
    converted: True for blocks that are mono, at the model's rate and without offset, as decoded
      files are; they are neither mixed nor resampled.

  Yields:
    Updates, from the first complete step of frames on.

  Raises:
    UserError: If the model cannot be used, a number is out of range, or the audio contains NaN.
  """
  model = load(model)
  classifier = StreamingClassifier(
    model,
    segment_seconds=segment_seconds,
    smoothing_seconds=smoothing_seconds,
    update_seconds=update_seconds,
    min_confidence=min_confidence,
  )
  convert = converter(sample_rate or model.frontend.sample_rate, model.frontend.sample_rate)
  if converted:
    convert = _resampler(1, 1)
  return _updates(blocks, classifier, convert)


def _updates(blocks, classifier, convert):
  for block in blocks:
    block = np.asarray(block, np.float32)
    if not (np.abs(block) <= LOUDEST).all():
      raise UserError("the audio contains NaN, or values too large to process")
    for part in convert(block):
      yield from classifier.push(part)
  for part in convert(None):
    yield from classifier.push(part)
  yield from classifier.flush()


def converter(source_rate: int, target_rate: int):
  """Return a function that mixes a stream to mono and resamples it, as files are (`data/mono.py`).

  Args:
    source_rate: Hz of the input.
    target_rate: Hz of the output.

  Returns:
    A function that takes float32[samples], float32[samples, channels], or None at the end, and
    gives an iterable of float32[samples]. The output does not depend on how the input is cut into
    blocks. The first second of the input is returned when it is complete.
  """
  mixer, offset_filter = MonoMixer(source_rate), OffsetFilter(target_rate)
  resample = _resampler(source_rate, target_rate)

  def convert(block):
    if block is not None:
      mono = mixer.push(block[None] if block.ndim == 1 else block.T)
    else:
      mono = mixer.flush()
    for part in resample(mono):
      yield offset_filter.push(part)
    if block is None:
      for part in resample(None):
        yield offset_filter.push(part)

  return convert


def _resampler(source_rate, target_rate):
  """Return a function that resamples float32[samples]; None ends the audio."""
  if source_rate == target_rate:
    return lambda block: () if block is None else (block,)
  state = soxr.ResampleStream(source_rate, target_rate, 1, dtype="float32")
  waiting = np.zeros(0, np.float32)

  def resample(block):
    nonlocal waiting
    if block is None:
      yield state.resample_chunk(waiting, last=True)
      return
    waiting = np.concatenate([waiting, block])
    while len(waiting) >= RESAMPLER_BLOCK:
      yield state.resample_chunk(waiting[:RESAMPLER_BLOCK])
      waiting = waiting[RESAMPLER_BLOCK:]

  return resample


def _depends_on_gain(model: Model) -> bool:
  """Return whether a gain of the whole input changes the logits of the network."""
  return getattr(model.network, "normalization", "none") == "none"
