"""Mel filters and STFT windows of a front end."""

import numpy as np

from genre_jax.data.frontend import FrontendConfig

# Each STFT window is a sum of cosines with these weights; the first is that of the constant.
COSINES = {
  "hann": (0.5, 0.5),
  "hamming": (0.54, 0.46),
  "blackman": (0.42, 0.5, 0.08),
  "boxcar": (1.0,),
}


def hz_to_mel(frequencies, mel_scale):
  """Convert Hz to mel.

  Args:
    frequencies: float[...], Hz.
    mel_scale: 'slaney' (linear below 1 kHz; Slaney 1998, Auditory Toolbox), 'htk' or 'htk_mel'.

  Returns:
    float64[...], mel.
  """
  frequencies = np.asarray(frequencies, np.float64)
  if mel_scale in ("htk", "htk_mel"):
    return 2595.0 * np.log10(1.0 + frequencies / 700.0)
  # 200/3 Hz per mel up to 1 kHz (mel 15), then 27 mels per factor of 6.4.
  above = 15.0 + 27.0 * np.log(np.maximum(frequencies, 1e-9) / 1000.0) / np.log(6.4)
  return np.where(frequencies >= 1000.0, above, frequencies * 3.0 / 200.0)


def mel_to_hz(mels, mel_scale):
  """Convert mel to Hz, the inverse of `hz_to_mel`."""
  mels = np.asarray(mels, np.float64)
  if mel_scale in ("htk", "htk_mel"):
    return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
  return np.where(mels >= 15.0, 1000.0 * 6.4 ** ((mels - 15.0) / 27.0), mels * 200.0 / 3.0)


def mel_frequencies(frontend: FrontendConfig) -> np.ndarray:
  """Return the center of each mel band in Hz, float64[n_mels]."""
  return _mel_edges(frontend)[1:-1]


def _mel_edges(frontend):
  """Return the edges of the mel bands in Hz, float64[n_mels + 2]."""
  low, high = hz_to_mel([frontend.fmin, frontend.fmax], frontend.mel_scale)
  return mel_to_hz(np.linspace(low, high, frontend.n_mels + 2), frontend.mel_scale)


def mel_filterbank(frontend: FrontendConfig) -> np.ndarray:
  """Return triangular mel filters, float32[n_mels, n_fft // 2 + 1].

  Source: Slaney (1998), Auditory Toolbox, and the HTK book; equal to librosa.filters.mel to 1e-6.
  """
  edges = _mel_edges(frontend)
  bins = np.fft.rfftfreq(frontend.n_fft, 1.0 / frontend.sample_rate)
  if frontend.mel_scale == "htk_mel":
    edges, bins = hz_to_mel(edges, "htk"), hz_to_mel(bins, "htk")
  rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
  fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
  filters = np.maximum(0.0, np.minimum(rise, fall))
  if frontend.mel_norm == "slaney":
    filters *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
  return filters.astype(np.float32)


def stft_window(frontend: FrontendConfig) -> np.ndarray:
  """Return the STFT window, centered in the FFT length, as float32[n_fft]."""
  # Equal to scipy.signal.get_window; importing scipy.signal would delay each prediction.
  angles = np.linspace(-np.pi, np.pi, frontend.win_length + 1)[:-1]
  terms = enumerate(COSINES[frontend.window] if frontend.win_length > 1 else COSINES["boxcar"])
  window = sum(weight * np.cos(order * angles) for order, weight in terms)
  left = (frontend.n_fft - frontend.win_length) // 2
  return np.pad(window, (left, frontend.n_fft - frontend.win_length - left)).astype(np.float32)
