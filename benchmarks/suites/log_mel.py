"""Log-mel of a 30 s clip: our NumPy and JAX paths against librosa, torch, nnAudio and essentia."""

import numpy as np

from benchmarks.harness import Contender, cores, format_ratio
from benchmarks.synthetic_audio import music
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import log_mel, log_mel_jax
from genre_jax.data.mel import mel_filterbank, stft_window

TITLE = "Log-mel of a 30 s clip (22050 Hz, 2048/512, 128 mels)"
TARGET = "at most 1.6 x the time of its FFTs alone, 3 x as fast as librosa, 1.6 x as fast as torch"
NOTES = "log-mel-numpy-path"
THREADS = ("one",)
FRONTEND = FrontendConfig(frame_stride=1.0)


def clip() -> np.ndarray:
  """Return the input, float32[661500]."""
  return music(30.0, FRONTEND.sample_rate)


def genre_jax_numpy():
  """Set up the NumPy path, which preparing and predicting use."""
  audio = clip()
  return lambda: log_mel(audio, FRONTEND)


def genre_jax_jitted():
  """Set up the JAX path, which exports use, compiled."""
  import jax

  audio = jax.device_put(clip())
  compiled = jax.jit(lambda audio: log_mel_jax(audio, FRONTEND))
  return lambda: np.asarray(compiled(audio))


def librosa():
  """Set up librosa's melspectrogram and power_to_db, as in its manual."""
  import librosa

  audio = clip()

  def run():
    power = librosa.feature.melspectrogram(
      y=audio,
      sr=FRONTEND.sample_rate,
      n_fft=FRONTEND.n_fft,
      hop_length=FRONTEND.hop_length,
      n_mels=FRONTEND.n_mels,
      pad_mode=FRONTEND.pad_mode,
    )
    return librosa.power_to_db(power, ref=np.max, amin=FRONTEND.amin, top_db=FRONTEND.top_db).T

  return run


def torch_stft():
  """Set up torch.stft and a dense product with the mel filters, as in torchaudio."""
  import torch

  torch.set_num_threads(cores())
  audio, window = torch.from_numpy(clip()), torch.from_numpy(stft_window(FRONTEND))
  filters = torch.from_numpy(mel_filterbank(FRONTEND))

  @torch.inference_mode()
  def run():
    return log_mel_torch(audio, window, filters).numpy().T

  return run


def log_mel_torch(audio, window, filters):
  """Return float32[..., bands, frames] of float32[..., samples] in dB below each clip's maximum."""
  import torch

  spectrum = torch.stft(
    audio,
    FRONTEND.n_fft,
    FRONTEND.hop_length,
    window=window,
    center=True,
    pad_mode=FRONTEND.pad_mode,
    return_complex=True,
  )
  return _decibels_torch(torch, filters @ spectrum.abs().square())


def nnaudio():
  """Set up nnAudio's layer, whose Fourier transform is a convolution."""
  import torch
  from nnAudio.features.mel import MelSpectrogram

  torch.set_num_threads(cores())
  layer = MelSpectrogram(
    sr=FRONTEND.sample_rate,
    n_fft=FRONTEND.n_fft,
    hop_length=FRONTEND.hop_length,
    n_mels=FRONTEND.n_mels,
    pad_mode=FRONTEND.pad_mode,
    verbose=False,
  )
  audio = torch.from_numpy(clip())

  @torch.inference_mode()
  def run():
    return _decibels_torch(torch, layer(audio)[0]).numpy().T

  return run


def _decibels_torch(torch, power):
  decibels = 10.0 * torch.log10(power.clamp_min(FRONTEND.amin))
  decibels = decibels - decibels.amax((-2, -1), keepdim=True)
  return decibels.clamp_min(-FRONTEND.top_db)


def essentia():
  """Set up essentia's algorithms frame by frame, as they are chained in Python."""
  import essentia
  import essentia.standard as es

  essentia.log.infoActive = essentia.log.warningActive = False
  audio = np.pad(clip(), FRONTEND.n_fft // 2)
  # By default its Windowing rotates the frame by half its length; the magnitudes are equal.
  window = es.Windowing(
    type="hann", size=FRONTEND.n_fft, normalized=False, zeroPhase=False, symmetric=False
  )
  spectrum = es.Spectrum(size=FRONTEND.n_fft)
  bands = es.MelBands(
    inputSize=FRONTEND.n_fft // 2 + 1,
    numberBands=FRONTEND.n_mels,
    sampleRate=FRONTEND.sample_rate,
    lowFrequencyBound=FRONTEND.fmin,
    highFrequencyBound=FRONTEND.fmax,
    warpingFormula="slaneyMel",
    weighting="linear",
    normalize="unit_tri",
    type="power",
  )

  def run():
    power = np.stack(
      [
        bands(spectrum(window(frame)))
        for frame in es.FrameGenerator(
          audio,
          frameSize=FRONTEND.n_fft,
          hopSize=FRONTEND.hop_length,
          startFromZero=True,
          lastFrameToEndOfFile=False,
          validFrameThresholdRatio=1.0,
        )
      ]
    )
    decibels = 10.0 * np.log10(np.maximum(power, FRONTEND.amin))
    return np.maximum(decibels - decibels.max(), -FRONTEND.top_db)

  return run


def bare_ffts():
  """Set up scipy's FFT of all windowed frames at once, without any other step."""
  import scipy.fft

  audio = np.pad(clip(), FRONTEND.n_fft // 2)
  frames = np.lib.stride_tricks.sliding_window_view(audio, FRONTEND.n_fft)[:: FRONTEND.hop_length]
  frames = np.ascontiguousarray(frames * stft_window(FRONTEND))

  def run():
    scipy.fft.rfft(frames)

  return run


def bare_ffts_in_cache():
  """Set up the same FFT on blocks of frames that fit into the second-level cache."""
  import scipy.fft

  from genre_jax.data.log_mel import FRAMES_AT_ONCE

  audio = np.pad(clip(), FRONTEND.n_fft // 2)
  frames = np.lib.stride_tricks.sliding_window_view(audio, FRONTEND.n_fft)[:: FRONTEND.hop_length]
  frames = np.ascontiguousarray(frames * stft_window(FRONTEND))

  def run():
    for at in range(0, len(frames), FRAMES_AT_ONCE):
      scipy.fft.rfft(frames[at : at + FRAMES_AT_ONCE])

  return run


# Tolerances in dB. The tests require 1e-3 of our paths; the filters of essentia differ from ours.
CONTENDERS = {
  "genre_jax, NumPy": Contender("genre_jax", genre_jax_numpy, role="ours"),
  "genre_jax, jitted JAX": Contender("genre_jax", genre_jax_jitted, 1e-2, role="ours"),
  "librosa": Contender("peers", librosa, 1e-2),
  "torch.stft, dense mel": Contender("peers", torch_stft, 1e-2),
  "nnAudio": Contender("peers", nnaudio, 0.1),
  "essentia": Contender("peers", essentia, 0.1),
  "the FFTs alone, whole": Contender("genre_jax", bare_ffts, role="floor"),
  "the FFTs alone, 32 at a time": Contender("genre_jax", bare_ffts_in_cache, role="floor"),
}


def remarks(outcomes) -> list[str]:
  """Return the ratios of the target."""
  outcome = outcomes["", "one"]
  ours = "genre_jax, NumPy"
  return [
    f"ours / the FFTs alone, whole {format_ratio(outcome.ratio(ours, 'the FFTs alone, whole'))}; 32"
    f" at a time {format_ratio(outcome.ratio(ours, 'the FFTs alone, 32 at a time'))}",
    f"librosa / ours {format_ratio(outcome.ratio('librosa', ours))}, torch / ours"
    f" {format_ratio(outcome.ratio('torch.stft, dense mel', ours))}",
  ]
