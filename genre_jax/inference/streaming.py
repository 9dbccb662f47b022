"""Live sound in, a genre every moment out: `stream`.

Last step for those who have sound that goes on. A `Listener` answers for the last seconds; what it
says depends on the sound alone, not on the blocks in which it came.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from genre_jax.data.source import LOUDEST
from genre_jax.errors import UserError
from genre_jax.inference import model_dir
from genre_jax.inference.frame_stream import LiveFrames
from genre_jax.inference.model import Model, load
from genre_jax.inference.predict_files import named
from genre_jax.inference.spectra import stack_windows

SILENCE = "silence"
# Measured on medleys (benchmarks/stream.py): the window of training, 7.4 s, is slower to follow.
WINDOW_SECONDS = 3.0
LONGEST_WINDOW = 600.0  # seconds: bounds memory
# Samples resampled at once: what one call gives depends on the call before it, and on no more.
RESAMPLED_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True)
class Update:
  """What is heard now.

  Attributes:
    seconds: end of the window, from the beginning of the sound.
    genre: the genre, 'unknown', 'silence', or tags joined by ';'.
    confidence: the highest probability; 0 in silence.
    probabilities: of each class, smoothed; {} in silence.
  """

  seconds: float
  genre: str
  confidence: float
  probabilities: dict[str, float]


class Listener:
  """Hears sound block by block.

  Args:
    model: the network.
    window_seconds: of sound over which it answers; 0 for that of training; None for 3 s, or that of
      training where it is shorter.
    smoothing_seconds: after so long, a change has reached 63 % of the probabilities.
    update_seconds: at least so much sound between two answers.
    min_confidence: below it the genre is 'unknown'.

  Attributes:
    window_seconds: as it came out, in whole steps.
  """

  def __init__(
    self,
    model: Model,
    *,
    window_seconds: float | None = None,
    smoothing_seconds: float = 0.0,
    update_seconds: float = 0.1,
    min_confidence: float = 0.0,
  ):
    frontend = model.frontend
    if window_seconds is None:
      window_seconds = min(WINDOW_SECONDS, frontend.window_seconds)
    for name, value, most in (
      ("window", window_seconds, LONGEST_WINDOW),
      ("smoothing", smoothing_seconds, 3600.0),
      ("update", update_seconds, 3600.0),
      ("min_confidence", min_confidence, 1.0),
    ):
      if not 0 <= value <= most:
        raise UserError(f"--{name}={value}: give a number from 0 to {most:g}")
    if frontend.db_ref == "max" and frontend.compression == "db" and _hears_gain(model):
      raise UserError(
        f"--model={model.name} takes its level from the loudest moment of a clip,"
        " which cannot be known of sound to come; train it with"
        " --config.frontend.db_ref=full_scale --config.frontend.top_db=0"
      )
    self._model, self._frames = model, LiveFrames(frontend)
    window = round(window_seconds * frontend.frame_rate) or frontend.num_frames
    self._window = np.zeros((0, frontend.n_mels), np.float32)  # the last frames that were in steps
    self._longest = window
    self._step = max(1, math.ceil(update_seconds * frontend.frame_rate - 1e-6))  # frames
    self.window_seconds = window * frontend.seconds_per_frame
    step = self._step * frontend.seconds_per_frame
    self._share = 1 - math.exp(-step / smoothing_seconds) if smoothing_seconds else 1.0
    self._every = update_seconds
    self._min_confidence = min_confidence
    self._waiting = np.zeros((0, frontend.n_mels), np.float32)  # frames of the next step
    self._powers = np.zeros(0, np.float32)  # of the frames of the window and of those waiting
    self._taken = 0  # frames that are in steps
    self._smooth: np.ndarray | None = None
    self._told = -math.inf

  def push(self, block: np.ndarray) -> list[Update]:
    """Takes float32[samples] at the model's sample rate; returns the answers that are due."""
    return self._take(*self._frames.push(block))

  def flush(self) -> list[Update]:
    """Ends the sound; returns the last answers."""
    return self._take(*self._frames.flush())

  def _take(self, frames, powers):
    self._waiting = np.concatenate([self._waiting, frames])
    self._powers = np.concatenate([self._powers, powers])
    step, updates = self._step, []
    while len(self._waiting) >= step:
      self._window = np.concatenate([self._window, self._waiting[:step]])[-self._longest :]
      self._waiting = self._waiting[step:]
      self._taken += step
      if update := self._predict():
        updates.append(update)
    return updates

  def _predict(self) -> Update | None:
    """Asks the network about the window, and smooths; an Update where one is due."""
    model = self._model
    heard = len(self._powers) - len(self._waiting)  # of these frames, what is in steps
    self._powers = self._powers[max(0, heard - self._longest) :]
    heard = min(heard, self._longest)
    silent = self._powers[:heard].max() < self._frames.silent_power
    seconds = self._taken * model.frontend.seconds_per_frame
    due = seconds - self._told >= self._every - 1e-9
    if silent:
      self._smooth = None
    else:
      logits = model.logits(*stack_windows([self._window], self._longest))[0]
      now = model.calibrated(model.probabilities(logits))
      self._smooth = (
        now if self._smooth is None else (self._smooth + self._share * (now - self._smooth))
      )
    if not due:
      return None
    self._told = seconds
    if silent:
      return Update(seconds, SILENCE, 0.0, {})
    genre, confidence = model.decide_label(self._smooth, self._min_confidence)
    return Update(seconds, genre, confidence, named(model, self._smooth))


def stream(
  blocks: Iterable[np.ndarray],
  model: str | Model = model_dir.DEFAULT_MODEL,
  *,
  sample_rate: int | None = None,
  window_seconds: float | None = None,
  smoothing_seconds: float = 0.0,
  update_seconds: float = 0.1,
  min_confidence: float = 0.0,
) -> Iterator[Update]:
  """The genre of sound as it comes.

  Args:
    blocks: float[samples] or float[samples, channels], of any lengths.
    model: what --model takes, or a Model that is loaded already.
    sample_rate: of the blocks in Hz; the model's own where None.
    window_seconds, smoothing_seconds, update_seconds, min_confidence: see `Listener`.
  Yields:
    Updates, from the first moment at which the network can say something.
  Raises:
    UserError: for a model or a number that cannot be used.
  """
  model = load(model)
  listener = Listener(
    model,
    window_seconds=window_seconds,
    smoothing_seconds=smoothing_seconds,
    update_seconds=update_seconds,
    min_confidence=min_confidence,
  )
  resample = resampler(sample_rate or model.frontend.sample_rate, model.frontend.sample_rate)
  return _updates(blocks, listener, resample)


def _updates(blocks, listener, resample):
  for block in blocks:
    block = np.asarray(block, np.float32)
    mono = block if block.ndim == 1 else block.mean(axis=1)
    if not (np.abs(mono) <= LOUDEST).all():
      raise UserError("the sound holds NaN, or is too loud to compute with")
    for part in resample(mono):
      yield from listener.push(part)
  for part in resample(None):
    yield from listener.push(part)
  yield from listener.flush()


def resampler(source_rate: int, rate: int):
  """A function that takes float32[samples] (None at the end) and yields them at another rate."""
  if source_rate == rate:
    return lambda block: () if block is None else (block,)
  state = soxr.ResampleStream(source_rate, rate, 1, dtype="float32")
  waiting = np.zeros(0, np.float32)

  def resample(block):
    nonlocal waiting
    if block is None:
      yield state.resample_chunk(waiting, last=True)
      return
    waiting = np.concatenate([waiting, block])
    while len(waiting) >= RESAMPLED_AT_ONCE:
      yield state.resample_chunk(waiting[:RESAMPLED_AT_ONCE])
      waiting = waiting[RESAMPLED_AT_ONCE:]

  return resample


def _hears_gain(model: Model) -> bool:
  """Whether the level of the whole input matters to a network."""
  return getattr(model.network, "normalization", "none") == "none"
