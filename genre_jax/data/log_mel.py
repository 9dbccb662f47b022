"""Waveform to log-mel by a Recipe: whole clips, streams and JAX, one contract.

Second step of the flow. `log_mel` and `log_mel_blocks` prepare data (NumPy, float32, constant
memory per frame kept), `LogMelStream` is the same for live sound, `log_mel_jax` the same for
export. They are tested against each other and against librosa 0.11 on real music (1e-3 dB at top_db
80).
"""

import functools

import numpy as np
import scipy.fft
import scipy.sparse

from genre_jax.data.frontend import FrontendConfig
from genre_jax.errors import UserError

# STFT frames transformed at once. 32 frames of 2048 stay in the second-level cache; what that and
# the other choices below are worth stands in docs/results/speed-notes.md.
FRAMES_AT_ONCE = 32
# Each window is a sum of cosines with these weights, from the mean on.
COSINES = {
  "hann": (0.5, 0.5),
  "hamming": (0.54, 0.46),
  "blackman": (0.42, 0.5, 0.08),
  "boxcar": (1.0,),
}


def hz_to_mel(frequencies, mel_scale):
  """Mel of float[...] Hz: 'slaney' (linear below 1 kHz, Slaney 1998, Auditory Toolbox) or 'htk'."""
  frequencies = np.asarray(frequencies, np.float64)
  if mel_scale == "htk":
    return 2595.0 * np.log10(1.0 + frequencies / 700.0)
  # 200/3 Hz per mel up to 1 kHz (mel 15), then 27 mels per factor of 6.4.
  above = 15.0 + 27.0 * np.log(np.maximum(frequencies, 1e-9) / 1000.0) / np.log(6.4)
  return np.where(frequencies >= 1000.0, above, frequencies * 3.0 / 200.0)


def mel_to_hz(mels, mel_scale):
  """Hz of float[...] mels; the inverse of `hz_to_mel`."""
  mels = np.asarray(mels, np.float64)
  if mel_scale == "htk":
    return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
  return np.where(mels >= 15.0, 1000.0 * 6.4 ** ((mels - 15.0) / 27.0), mels * 200.0 / 3.0)


def mel_frequencies(frontend: FrontendConfig) -> np.ndarray:
  """Center of each mel band in Hz, float64[n_mels]."""
  return _mel_edges(frontend)[1:-1]


def _mel_edges(frontend):
  low, high = hz_to_mel([frontend.fmin, frontend.fmax], frontend.mel_scale)
  return mel_to_hz(np.linspace(low, high, frontend.n_mels + 2), frontend.mel_scale)


def mel_filterbank(frontend: FrontendConfig) -> np.ndarray:
  """Triangular mel filters as float32[n_mels, n_fft // 2 + 1].

  Source: Slaney (1998), Auditory Toolbox, and the HTK book; equal to librosa.filters.mel to 1e-6.
  """
  edges = _mel_edges(frontend)
  bins = np.fft.rfftfreq(frontend.n_fft, 1.0 / frontend.sample_rate)
  rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
  fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
  filters = np.maximum(0.0, np.minimum(rise, fall))
  if frontend.mel_norm == "slaney":
    filters *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
  return filters.astype(np.float32)


@functools.lru_cache(maxsize=8)
def _filters(frontend):
  """The window, float32[n_fft], and the filters as a sparse matrix."""
  return stft_window(frontend), scipy.sparse.csr_array(mel_filterbank(frontend))


def stft_window(frontend: FrontendConfig) -> np.ndarray:
  """The window, centered in the FFT length, as float32[n_fft]."""
  # As scipy.signal.get_window, but predicting does not wait for the import of scipy.signal.
  angles = np.linspace(-np.pi, np.pi, frontend.win_length + 1)[:-1]
  terms = enumerate(COSINES[frontend.window] if frontend.win_length > 1 else COSINES["boxcar"])
  window = sum(weight * np.cos(order * angles) for order, weight in terms)
  left = (frontend.n_fft - frontend.win_length) // 2
  return np.pad(window, (left, frontend.n_fft - frontend.win_length - left)).astype(np.float32)


class MelPowerStream:
  """Blocks of audio in, kept frames of mel power out; any block sizes give the same frames.

  `peak` is the largest mel power of all STFT frames so far, those that thinning drops included,
  since the reference and the floor of dB belong to the clip and not to the frames that happen to be
  kept.
  """

  def __init__(self, frontend: FrontendConfig):
    self.frontend = frontend
    self.peak = 0.0
    self.samples = 0
    # Zeros before the start are known now; other padding needs the first samples.
    self._started = not frontend.center or frontend.pad_mode == "constant"
    before = frontend.n_fft // 2 if frontend.center and self._started else 0
    self._pending = np.zeros(before, np.float32)  # from the first sample of the next frame on
    self._skip = 0  # samples to drop before it, where the hop exceeds the FFT length
    self._frame = 0  # index of the next STFT frame
    self._kept = 0  # frames handed out
    self._last = np.zeros((0, frontend.n_mels), np.float32)
    # Without a reference to the maximum the dropped frames need no FFT.
    self._every_frame = not frontend.streamable
    self._tail = np.zeros(0, np.float32)

  def push(self, block) -> np.ndarray:
    """Takes float32[samples]; returns the kept frames now complete, float32[frames, n_mels]."""
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
    """Ends the clip; returns its last kept frames, float32[frames, n_mels]."""
    frontend = self.frontend
    if not self.samples:
      return np.zeros((0, frontend.n_mels), np.float32)
    pending, half = self._pending, frontend.n_fft // 2
    if not self._started:
      # The whole clip is shorter than the padding; np.pad reflects it as often as needed.
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
    """Kept mel frames of padded audio that begins with the next STFT frame; stores the rest."""
    frontend = self.frontend
    dropped = min(self._skip, len(audio))
    audio = audio[dropped:]
    self._skip -= dropped
    count = max(0, 1 + (len(audio) - frontend.n_fft) // frontend.hop_length)
    end = self._frame + count
    kept = self._kept_between(self._frame, end)
    if last and not self._kept and not len(kept):
      # A clip of fewer STFT frames than one stride still gives one frame.
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
    """Indices of the kept STFT frames in [start, end)."""
    stride = self.frontend.frame_stride
    first = max(0, int(start / stride - 0.5) - 1)
    indices = np.floor((np.arange(first, int(end / stride) + 2) + 0.5) * stride).astype(np.int64)
    return indices[(indices >= start) & (indices < end)]


def _mel_power(frames, frontend, rows=None):
  """Mel power float32[frames, n_mels] of float32[frames, n_fft], or of some of its rows."""
  window, filters = _filters(frontend)
  count = len(frames) if rows is None else len(rows)
  result = np.empty((count, frontend.n_mels), np.float32)
  # Memory that serves again and again: fresh memory for each step costs as much as the step.
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
    # Sparse, because each bin falls into two bands at most, and because it leaves the other cores
    # alone.
    result[some] = (filters @ magnitude[:size].T).T
  return result


def compress(mel_power, frontend: FrontendConfig, peak=None) -> np.ndarray:
  """Mel power to dB (as librosa.power_to_db) or log10(1 + 10000 x).

  Args:
    mel_power: float32[frames, n_mels].
    recipe: says which.
    peak: largest mel power of the whole clip; where None, of `mel_power`.
  Returns:
    float32[frames, n_mels].
  """
  if frontend.compression == "log10_10000":
    return np.log10(1.0 + np.float32(10000.0) * mel_power)
  amin = np.float32(frontend.amin)
  # In place, since an hour of frames is large.
  decibels = np.maximum(mel_power, amin)
  np.log10(decibels, out=decibels)
  decibels *= np.float32(10.0)
  if peak is None:
    peak = float(mel_power.max(initial=0.0))
  # In float32 as the frames, so that the loudest value is exactly 0 dB.
  top = np.float32(10.0) * np.log10(np.maximum(np.float32(peak), amin))
  if frontend.top_db:
    np.maximum(decibels, top - np.float32(frontend.top_db), out=decibels)
  if frontend.db_ref == "max":
    decibels -= top
  return decibels


def log_mel_blocks(blocks, frontend: FrontendConfig) -> np.ndarray:
  """Log-mel of a clip given as an iterable of float32 blocks; holds only kept frames."""
  stream = MelPowerStream(frontend)
  parts = [stream.push(block) for block in blocks]
  parts.append(stream.flush())
  return compress(np.concatenate(parts), frontend, stream.peak)


def log_mel(audio, frontend: FrontendConfig) -> np.ndarray:
  """Log-mel of a whole clip.

  Args:
    audio: float32[samples], mono, at frontend.sample_rate.
    recipe: how.
  Returns:
    float32[frames, n_mels]; frames = frontend.frames_of(samples), 0 for no samples.
  Reference: librosa 0.11 melspectrogram and power_to_db, equal within 1e-3 dB on real clips at
    top_db 80.
  """
  # A minute at a time keeps an hour's working memory small.
  step = 60 * frontend.sample_rate
  audio = np.asarray(audio, np.float32)
  return log_mel_blocks((audio[at : at + step] for at in range(0, len(audio), step)), frontend)


class LogMelStream:
  """Log-mel of live sound: `push` blocks of any size, get the new frames; `flush` at the end.

  Equal to `log_mel` of the whole. Only for recipes whose frames stand alone: dB relative to full
  scale without top_db, or log10_10000. The networks are gain-invariant, so that is the same input
  to them.
  """

  def __init__(self, frontend: FrontendConfig):
    if not frontend.streamable:
      raise UserError(
        f"config.frontend.db_ref={frontend.db_ref}, top_db={frontend.top_db:g}: a stream "
        "cannot know the maximum of "
        "sound to come. Use config.frontend.db_ref=full_scale with config.frontend.top_db=0."
      )
    self.frontend = frontend
    self._stream = MelPowerStream(frontend)

  def push(self, block) -> np.ndarray:
    """Takes float32[samples]; returns the frames that became complete, float32[frames, n_mels]."""
    return compress(self._stream.push(block), self.frontend)

  def flush(self) -> np.ndarray:
    """Ends the sound; returns the last frames, float32[frames, n_mels]."""
    return compress(self._stream.flush(), self.frontend)


def log_mel_jax(audio, frontend: FrontendConfig):
  """`log_mel` in JAX, for use inside jit and exports.

  Args:
    audio: float32[..., samples], at least one sample; the length may be symbolic where frame_stride
      is 1.
    recipe: how; a Python constant.
  Returns:
    float32[..., frames, n_mels]; dB reference and floor are each clip's own.
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
  kept = (
    jnp.arange(count)
    if frontend.frame_stride == 1.0
    else jnp.asarray(frontend.frame_indices(count))
  )
  if frontend.n_fft % frontend.hop_length == 0 and (
    frontend.frame_stride == 1.0 or not frontend.streamable
  ):
    # Whole hops side by side: no index as large as the sound itself, which an export would carry.
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
  decibels = 10.0 * jnp.log10(jnp.maximum(mel, frontend.amin))
  top = jnp.max(decibels, axis=(-2, -1), keepdims=True)
  if not frontend.streamable:
    decibels = decibels if frontend.frame_stride == 1.0 else decibels[..., kept, :]
  if frontend.top_db:
    decibels = jnp.maximum(decibels, top - frontend.top_db)
  return decibels - top if frontend.db_ref == "max" else decibels
