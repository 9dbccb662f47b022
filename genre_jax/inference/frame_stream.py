"""Compute log-mel frames of live audio.

A front end with dB relative to the maximum of a clip cannot be computed before the clip ends. Such
frames stay in absolute dB, since the networks of these front ends ignore a gain. Only the floor
(`top_db`) uses a reference: the maximum of the last 30 s, the length of the clips used in training.
"""

import collections
import dataclasses

import numpy as np

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import MelPowerStream, compress
from genre_jax.data.silence import SILENT_PEAK

REFERENCE_SECONDS = 30.0


class FrameStream:
  """Convert blocks of audio to log-mel frames; the frames do not depend on the block sizes.

  Attributes:
    frontend: The front end.
    silent_power: Largest mel power of a tone whose amplitude is one step of 16-bit audio.
  """

  def __init__(self, frontend: FrontendConfig):
    self.frontend = frontend
    # Without thinning if the reference needs every frame.
    self._stft = (
      frontend if frontend.streamable else dataclasses.replace(frontend, frame_stride=1.0)
    )
    self._absolute = dataclasses.replace(frontend, db_ref="full_scale", top_db=0.0)
    self._stream = MelPowerStream(self._stft)
    self._frame, self._kept = 0, 0  # STFT frames processed, frames returned
    rate = frontend.sample_rate / frontend.hop_length
    self._span = max(1, round(REFERENCE_SECONDS * rate))
    self._peaks: collections.deque = collections.deque()  # (frame, power), power decreasing
    self._last: np.ndarray | None = None
    tone = SILENT_PEAK * np.sin(np.arange(4 * frontend.n_fft) * 2 * np.pi / 16)
    self.silent_power = float(MelPowerStream(self._stft).push(tone).max())

  def push(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Process a block and return the frames that it completes.

    Args:
      block: float32[samples] at the front end's sample rate.

    Returns:
      float32[frames, n_mels], and float32[frames], the largest mel power of each frame.
    """
    return self._keep(self._stream.push(block))

  def flush(self) -> tuple[np.ndarray, np.ndarray]:
    """End the audio and return the last frames as `push` does."""
    frames, peaks = self._keep(self._stream.flush())
    if not self._kept and self._last is not None:
      # Audio of fewer STFT frames than one stride still gives one frame.
      return self._floored(self._last[None], [self._peaks[0][1]]), self._last.max()[None]
    return frames, peaks

  def _keep(self, power):
    if self._stft is self.frontend:
      self._kept += len(power)
      return compress(power, self.frontend), power.max(1, initial=0)
    kept, references = [], []
    for row, peak in zip(power, power.max(1, initial=0).tolist(), strict=True):
      while self._peaks and self._peaks[-1][1] <= peak:
        self._peaks.pop()
      self._peaks.append((self._frame, peak))
      if self._peaks[0][0] <= self._frame - self._span:
        self._peaks.popleft()
      # STFT frame floor((j + 0.5) * stride) is kept as frame j; see FrontendConfig.
      if int((self._kept + 0.5) * self.frontend.frame_stride) == self._frame:
        kept.append(row)
        references.append(self._peaks[0][1])
        self._kept += 1
      self._frame += 1
      self._last = row
    power = np.array(kept, np.float32).reshape(-1, self.frontend.n_mels)
    return self._floored(power, references), power.max(1, initial=0)

  def _floored(self, power, references):
    """Return dB of float32[frames, n_mels], clamped at each frame's reference minus top_db."""
    decibels = compress(power, self._absolute)
    if self.frontend.top_db:
      reference = np.maximum(np.array(references, np.float32), np.float32(self.frontend.amin))
      floor = np.float32(10) * np.log10(reference) - np.float32(self.frontend.top_db)
      decibels = np.maximum(decibels, floor[:, None])
    return decibels
