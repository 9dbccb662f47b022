"""Compute log-mel from waveforms: whole clips, streams, and in JAX.

`log_mel` and `log_mel_blocks` (NumPy, float32) prepare data, `MelPowerStream` processes live audio,
and `log_mel_jax` is for exports. Tests compare them with each other, and with librosa 0.11 on real
music: they agree within 1e-3 dB at top_db 80.
"""

import functools

import numpy as np

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.mel import mel_filterbank, stft_window

# STFT frames transformed at once: 32 frames of 2048 samples fit into the second-level cache. This
# and the choices below are measured in docs/results/speed-notes.md.
FRAMES_AT_ONCE = 32


@functools.lru_cache(maxsize=8)
def _filters(frontend):
  """Return the STFT window, float32[n_fft], and the mel filters as a sparse matrix."""
  import scipy.sparse

  return stft_window(frontend), scipy.sparse.csr_array(mel_filterbank(frontend))


class MelPowerStream:
  """Stream from blocks of audio to kept frames of mel power; the block sizes do not matter.

  Attributes:
    frontend: Front end.
    peak: Largest mel power of all STFT frames so far, also of frames that thinning drops: the
      reference and the floor of the dB values are those of the whole clip.
    samples: Number of samples so far.
  """

  def __init__(self, frontend: FrontendConfig):
    self.frontend = frontend
    self.peak = 0.0
    self.samples = 0
    # Padding with zeros is known at once; other padding needs the first samples.
    self._started = not frontend.center or frontend.pad_mode == "constant"
    before = frontend.n_fft // 2 if frontend.center and self._started else 0
    self._pending = np.zeros(before, np.float32)  # from the first sample of the next frame on
    self._skip = 0  # samples to drop before it, where the hop exceeds the FFT length
    self._frame = 0  # index of the next STFT frame
    self._kept = 0  # frames returned so far
    self._last = np.zeros((0, frontend.n_mels), np.float32)
    # Without a reference to the maximum the dropped frames need no FFT.
    self._every_frame = not frontend.streamable
    self._tail = np.zeros(0, np.float32)

  def push(self, block) -> np.ndarray:
    """Add float32[samples]; return the frames that are complete now, float32[frames, n_mels]."""
    block = np.asarray(block, np.float32)
    self.samples += len(block)
    frontend = self.frontend
    pending = np.concatenate([self._pending, block])
    if frontend.center and frontend.pad_mode != "constant":
      self._tail = np.concatenate([self._tail, block[-frontend.n_fft :]])[-frontend.n_fft :]
    if not self._started:
      half = frontend.n_fft // 2
      if self.samples <= half:
        self._pending = pending
        return np.zeros((0, frontend.n_mels), np.float32)
      pending = np.pad(pending, (half, 0), frontend.pad_mode)
      self._started = True
    return self._frames(pending)

  def flush(self) -> np.ndarray:
    """End the clip; return its last kept frames, float32[frames, n_mels]."""
    frontend = self.frontend
    if not self.samples:
      return np.zeros((0, frontend.n_mels), np.float32)
    pending, half = self._pending, frontend.n_fft // 2
    if not self._started:
      # The whole clip is shorter than the padding; np.pad reflects it repeatedly.
      pending = np.pad(pending, half, frontend.pad_mode)
    elif frontend.center and frontend.pad_mode == "constant":
      pending = np.concatenate([pending, np.zeros(half, np.float32)])
    elif frontend.center:
      pending = np.concatenate([pending, np.pad(self._tail, (0, half), frontend.pad_mode)[-half:]])
    elif self.samples < frontend.n_fft:
      pending = np.pad(pending, (0, frontend.n_fft - len(pending)))
    frames = self._frames(pending, last=True)
    self._pending = np.zeros(0, np.float32)
    return frames

  def _frames(self, audio, last=False):
    """Return the kept mel frames of padded audio from the next STFT frame on; store the rest."""
    frontend = self.frontend
    dropped = min(self._skip, len(audio))
    audio = audio[dropped:]
    self._skip -= dropped
    count = max(0, 1 + (len(audio) - frontend.n_fft) // frontend.hop_length)
    end = self._frame + count
    kept = self._kept_between(self._frame, end)
    if last and not self._kept and not len(kept):
      # A clip with fewer STFT frames than one stride gives one frame.
      kept = np.array([end - 1])
    if count:
      views = np.lib.stride_tricks.sliding_window_view(audio, frontend.n_fft)[
        :: frontend.hop_length
      ]
      local = kept - self._frame
      if self._every_frame:
        mel = _mel_power(views, frontend)
        self.peak = max(self.peak, float(mel.max()))
        result = mel if len(local) == count else mel[local]
        self._last = mel[-1:].copy()
      else:
        result = _mel_power(views, frontend, local)
        if not self._kept and not len(kept):
          self._last = _mel_power(views[-1:], frontend)
    else:
      result = self._last[: len(kept)]
    self._skip += max(0, count * frontend.hop_length - len(audio))
    self._pending = audio[count * frontend.hop_length :].copy()
    self._frame = end
    self._kept += len(kept)
    return result

  def _kept_between(self, start, end):
    """Return the indices of the kept STFT frames in [start, end)."""
    stride = self.frontend.frame_stride
    first = max(0, int(start / stride - 0.5) - 1)
    indices = np.floor((np.arange(first, int(end / stride) + 2) + 0.5) * stride).astype(np.int64)
    return indices[(indices >= start) & (indices < end)]


def _mel_power(frames, frontend, rows=None):
  """Return mel power, float32[frames, n_mels], of float32[frames, n_fft] or of some rows of it."""
  if frontend.compression == "waveform":
    return np.array(frames if rows is None else frames[rows])
  # Imported here, since it takes 0.2 s: the command `predict` computes log-mels in other processes.
  import scipy.fft

  window, filters = _filters(frontend)
  count = len(frames) if rows is None else len(rows)
  result = np.empty((count, frontend.n_mels), np.float32)
  # Reused memory: allocating it in each step costs as much as the step.
  windowed = np.empty((FRAMES_AT_ONCE, frontend.n_fft), np.float32)
  magnitude = np.empty((FRAMES_AT_ONCE, frontend.n_fft // 2 + 1), np.float32)
  for at in range(0, count, FRAMES_AT_ONCE):
    some = slice(at, at + FRAMES_AT_ONCE)
    taken = frames[some] if rows is None else frames[rows[some]]
    size = len(taken)
    parts = scipy.fft.rfft(np.multiply(taken, window, out=windowed[:size])).view(np.float32)
    np.square(parts, out=parts)  # real and imaginary, side by side
    np.add(parts[:, ::2], parts[:, 1::2], out=magnitude[:size])
    if frontend.power != 2.0:
      magnitude[:size] **= frontend.power / 2.0
    # Sparse, because each bin is in at most two bands, and because it runs on one core.
    result[some] = (filters @ magnitude[:size].T).T
  return result


def compress(mel_power, frontend: FrontendConfig, peak=None) -> np.ndarray:
  """Convert mel power to dB (as librosa.power_to_db), log10(1 + 10000 x) or ln(x + 0.001).

  A waveform is returned unchanged.

  Args:
    mel_power: float32[frames, n_mels].
    frontend: Front end.
    peak: Largest mel power of the whole clip; if None, that of `mel_power`.

  Returns:
    float32[frames, n_mels].
  """
  if frontend.compression == "log10_10000":
    return np.log10(1.0 + np.float32(10000.0) * mel_power)
  if frontend.compression == "ln_0.001":
    return np.log(mel_power + np.float32(0.001))
  if frontend.compression == "waveform":
    return mel_power
  amin = np.float32(frontend.amin)
  # In place, because an hour of frames is large.
  decibels = np.maximum(mel_power, amin)
  np.log10(decibels, out=decibels)
  decibels *= np.float32(10.0)
  if peak is None:
    peak = float(mel_power.max(initial=0.0))
  # In float32 like the frames, so that the largest value is exactly 0 dB.
  top = np.float32(10.0) * np.log10(np.maximum(np.float32(peak), amin))
  if frontend.top_db:
    np.maximum(decibels, top - np.float32(frontend.top_db), out=decibels)
  if frontend.db_ref == "max":
    decibels -= top
  return decibels


def log_mel_blocks(blocks, frontend: FrontendConfig) -> np.ndarray:
  """Return the log-mel of a clip, given as an iterable of float32[samples] blocks.

  The result is that of `log_mel`; memory is that of the kept frames.
  """
  stream = MelPowerStream(frontend)
  parts = [stream.push(block) for block in blocks]
  parts.append(stream.flush())
  return compress(np.concatenate(parts), frontend, stream.peak)


def log_mel(audio, frontend: FrontendConfig) -> np.ndarray:
  """Compute the log-mel of a whole clip.

  Equal to librosa 0.11 melspectrogram and power_to_db within 1e-3 dB on real clips at top_db 80.

  Args:
    audio: float32[samples], mono, at frontend.sample_rate.
    frontend: Front end.

  Returns:
    float32[frames, n_mels]; frames = frontend.frames_of(samples), 0 for no samples.
  """
  # One minute per block bounds the working memory.
  step = 60 * frontend.sample_rate
  audio = np.asarray(audio, np.float32)
  return log_mel_blocks((audio[at : at + step] for at in range(0, len(audio), step)), frontend)


def log_mel_jax(audio, frontend: FrontendConfig):
  """Compute `log_mel` in JAX, for jit and exports.

  Args:
    audio: float32[..., samples], at least one sample; the length may be symbolic if frame_stride is
      1.
    frontend: Front end, static under jit.

  Returns:
    float32[..., frames, n_mels]; the dB reference and the floor are those of each clip.
  """
  import jax
  import jax.numpy as jnp

  audio = jnp.asarray(audio, jnp.float32)
  lead = [(0, 0)] * (audio.ndim - 1)
  if frontend.center:
    half = frontend.n_fft // 2
    audio = jnp.pad(audio, [*lead, (half, half)], mode=frontend.pad_mode)
  elif audio.shape[-1] < frontend.n_fft:
    audio = jnp.pad(audio, [*lead, (0, frontend.n_fft - audio.shape[-1])])
  count = 1 + (audio.shape[-1] - frontend.n_fft) // frontend.hop_length
  if frontend.compression == "waveform":
    frames = audio[..., : count * frontend.hop_length]
    return frames.reshape(*audio.shape[:-1], count, frontend.hop_length)
  kept = (
    jnp.arange(count)
    if frontend.frame_stride == 1.0
    else jnp.asarray(frontend.frame_indices(count))
  )
  if frontend.n_fft % frontend.hop_length == 0 and (
    frontend.frame_stride == 1.0 or not frontend.streamable
  ):
    # Concatenate whole hops: an index array would be as large as the audio, and part of an export.
    hops = frontend.n_fft // frontend.hop_length
    pieces = audio[..., : (count + hops - 1) * frontend.hop_length].reshape(
      *audio.shape[:-1], count + hops - 1, frontend.hop_length
    )
    frames = jnp.concatenate([pieces[..., i : i + count, :] for i in range(hops)], -1)
  else:
    rows = kept if frontend.streamable else jnp.arange(count)
    frames = audio[..., (rows * frontend.hop_length)[:, None] + jnp.arange(frontend.n_fft)[None, :]]
  window = jnp.asarray(stft_window(frontend)).reshape((1,) * (frames.ndim - 1) + (-1,))
  spectrum = jnp.fft.rfft(frames * window)
  magnitude = spectrum.real**2 + spectrum.imag**2
  if frontend.power != 2.0:
    # The floor keeps the gradient finite at 0.
    magnitude = jnp.maximum(magnitude, 1e-30) ** (frontend.power / 2.0)
  filters = jnp.asarray(mel_filterbank(frontend).T)
  mel = jnp.matmul(magnitude, filters, precision=jax.lax.Precision.HIGHEST)
  if frontend.compression == "log10_10000":
    return jnp.log10(1.0 + 10000.0 * mel)
  if frontend.compression == "ln_0.001":
    return jnp.log(mel + 0.001)
  decibels = 10.0 * jnp.log10(jnp.maximum(mel, frontend.amin))
  top = jnp.max(decibels, axis=(-2, -1), keepdims=True)
  if not frontend.streamable:
    decibels = decibels if frontend.frame_stride == 1.0 else decibels[..., kept, :]
  if frontend.top_db:
    decibels = jnp.maximum(decibels, top - frontend.top_db)
  return decibels - top if frontend.db_ref == "max" else decibels
