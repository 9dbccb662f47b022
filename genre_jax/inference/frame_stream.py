"""Log-mel frames of sound as it comes: what a file would give, as far as that can be known.

Stands between blocks of live sound and a network. A recipe whose frames stand alone needs nothing
here. One with dB relative to the loudest moment of a clip cannot be known before the clip is over:
its reference is the loudest moment of the last 30 s, the length of the clips that networks are
trained on, and serves for the floor (top_db) alone. Levels stay absolute: the networks of such
recipes ignore a gain, and a reference that moves would be one that changes in time.
"""

import collections
import dataclasses

import numpy as np

from genre_jax.data.audio import SILENT_PEAK
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import MelPowerStream, compress

REFERENCE_SECONDS = 30.0


class LiveFrames:
  """Blocks of sound in, kept frames out; any block sizes give the same frames.

  Attributes:
    recipe: how sound is heard.
    silent_power: mel power of a tone of one step of 16-bit audio.
  """

  def __init__(self, frontend: FrontendConfig):
    self.frontend = frontend
    # Without the thinning where every frame may be the loudest.
    self._heard = (
      frontend if frontend.streamable else dataclasses.replace(frontend, frame_stride=1.0)
    )
    self._absolute = dataclasses.replace(frontend, db_ref="full_scale", top_db=0.0)
    self._stream = MelPowerStream(self._heard)
    self._frame, self._kept = 0, 0  # STFT frames seen, frames handed out
    rate = frontend.sample_rate / frontend.hop_length
    self._span = max(1, round(REFERENCE_SECONDS * rate))
    self._peaks: collections.deque = collections.deque()  # (frame, power), powers falling
    self._last: np.ndarray | None = None
    tone = SILENT_PEAK * np.sin(np.arange(4 * frontend.n_fft) * 2 * np.pi / 16)
    self.silent_power = float(MelPowerStream(self._heard).push(tone).max())

  def push(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Takes float32[samples].

    Returns:
      The frames that became complete, float32[frames, n_mels], and the largest mel power of each,
      float32[frames].
    """
    return self._take(self._stream.push(block))

  def flush(self) -> tuple[np.ndarray, np.ndarray]:
    """Ends the sound; returns the last frames as `push` does."""
    frames, peaks = self._take(self._stream.flush())
    if not self._kept and self._last is not None:
      # Sound of fewer STFT frames than one stride still gives one frame.
      return self._floored(self._last[None], [self._peaks[0][1]]), self._last.max()[None]
    return frames, peaks

  def _take(self, power):
    if self._heard is self.frontend:
      self._kept += len(power)
      return compress(power, self.frontend), power.max(1, initial=0)
    kept, references = [], []
    for row, peak in zip(power, power.max(1, initial=0).tolist(), strict=True):
      while self._peaks and self._peaks[-1][1] <= peak:
        self._peaks.pop()
      self._peaks.append((self._frame, peak))
      if self._peaks[0][0] <= self._frame - self._span:
        self._peaks.popleft()
      # Frame floor((j + 0.5) * stride) is the kept frame j; see Recipe.
      if int((self._kept + 0.5) * self.frontend.frame_stride) == self._frame:
        kept.append(row)
        references.append(self._peaks[0][1])
        self._kept += 1
      self._frame += 1
      self._last = row
    power = np.array(kept, np.float32).reshape(-1, self.frontend.n_mels)
    return self._floored(power, references), power.max(1, initial=0)

  def _floored(self, power, references):
    """dB of float32[frames, n_mels], none below its frame's reference less top_db."""
    decibels = compress(power, self._absolute)
    if self.frontend.top_db:
      least = np.maximum(np.array(references, np.float32), np.float32(self.frontend.amin))
      floor = np.float32(10) * np.log10(least) - np.float32(self.frontend.top_db)
      decibels = np.maximum(decibels, floor[:, None])
    return decibels
