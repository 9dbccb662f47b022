"""Log-mel of whole clips, in blocks, streamed and in JAX equals librosa on real music."""

import dataclasses

import jax
import librosa
import numpy as np
import pytest
import scipy.signal

from genre_jax.data.audio import read_audio
from genre_jax.data.frontend import WINDOWS, FrontendConfig
from genre_jax.data.log_mel import MelPowerStream, compress, log_mel, log_mel_blocks, log_mel_jax
from genre_jax.data.mel import mel_filterbank, mel_frequencies, stft_window

ALL_FRAMES = FrontendConfig(frame_stride=1.0)
STREAM = FrontendConfig(db_ref="full_scale", top_db=0.0)
MUSICNN = FrontendConfig(
  sample_rate=16000,
  n_fft=512,
  win_length=512,
  hop_length=256,
  n_mels=96,
  fmax=8000.0,
  compression="log10_10000",
  frame_stride=1.0,
  num_frames=187,
)
CLIPS = ("classical/classical.00000", "metal/metal.00001", "hiphop/hiphop.00007")


def librosa_log_mel(audio, frontend):
  power = librosa.feature.melspectrogram(
    y=audio,
    sr=frontend.sample_rate,
    n_fft=frontend.n_fft,
    win_length=frontend.win_length,
    hop_length=frontend.hop_length,
    window=frontend.window,
    center=frontend.center,
    pad_mode=frontend.pad_mode,
    power=frontend.power,
    n_mels=frontend.n_mels,
    fmin=frontend.fmin,
    fmax=frontend.fmax,
    htk=frontend.mel_scale == "htk",
    norm="slaney" if frontend.mel_norm == "slaney" else None,
  )
  if frontend.compression != "db":
    return np.log10(1 + 10000 * power).T
  decibels = librosa.power_to_db(
    power,
    ref=np.max if frontend.db_ref == "max" else 1.0,
    amin=frontend.amin,
    top_db=frontend.top_db or None,
  )
  return decibels.T


def difference(a, b):
  assert a.shape == b.shape
  return float(np.max(np.abs(np.asarray(a) - np.asarray(b))))


@pytest.fixture(params=CLIPS)
def music(gtzan, request):
  return read_audio(gtzan / "audio" / f"{request.param}.flac", 22050)[: 22050 * 10]


def test_filters_equal_librosa():
  for frontend in (
    FrontendConfig(),
    FrontendConfig(n_mels=80, fmin=30.0, fmax=8000.0),
    FrontendConfig(mel_scale="htk"),
    FrontendConfig(mel_norm="none"),
    dataclasses.replace(MUSICNN, n_mels=40),
  ):
    expected = librosa.filters.mel(
      sr=frontend.sample_rate,
      n_fft=frontend.n_fft,
      n_mels=frontend.n_mels,
      fmin=frontend.fmin,
      fmax=frontend.fmax,
      htk=frontend.mel_scale == "htk",
      norm="slaney" if frontend.mel_norm == "slaney" else None,
    )
    assert difference(mel_filterbank(frontend), expected) < 1e-6
  expected = librosa.mel_frequencies(130, fmin=0, fmax=11025)[1:-1]
  np.testing.assert_allclose(mel_frequencies(FrontendConfig()), expected, rtol=1e-6)


def test_windows_equal_scipy():
  for window in WINDOWS:
    for length in (1, 2, 511, 2048):
      expected = scipy.signal.get_window(window, length, fftbins=True)
      made = stft_window(FrontendConfig(window=window, win_length=length))
      left = (2048 - length) // 2
      expected = np.pad(expected, (left, 2048 - length - left))
      np.testing.assert_array_equal(made, expected.astype(np.float32))


def test_real_clips_equal_librosa(music):
  expected = librosa_log_mel(music, ALL_FRAMES)
  assert expected.min() == pytest.approx(-80) and expected.max() == 0
  assert difference(log_mel(music, ALL_FRAMES), expected) < 1e-3
  assert difference(log_mel_jax(music, ALL_FRAMES), expected) < 1e-3
  in_jit = jax.jit(lambda audio: log_mel_jax(audio, ALL_FRAMES))(music)
  assert difference(in_jit, expected) < 1e-3
  blocks = (music[at : at + 7001] for at in range(0, len(music), 7001))
  assert difference(log_mel_blocks(blocks, ALL_FRAMES), expected) < 1e-3


@pytest.mark.parametrize(
  "change",
  [
    dict(pad_mode="reflect"),
    dict(pad_mode="edge", window="hamming"),
    dict(center=False),
    dict(win_length=1000, n_fft=1024, hop_length=200),
    dict(hop_length=3000),
    dict(mel_scale="htk", mel_norm="none", fmin=50.0, fmax=8000.0, n_mels=64),
    dict(power=1.0, top_db=40.0),
    dict(db_ref="full_scale"),
    dict(compression="log10_10000"),
  ],
  ids=str,
)
def test_other_front_ends_equal_librosa(change, tone):
  frontend = dataclasses.replace(ALL_FRAMES, **change)
  expected = librosa_log_mel(tone, frontend)
  assert difference(log_mel(tone, frontend), expected) < 1e-3
  assert difference(log_mel_jax(tone, frontend), expected) < 1e-3
  blocks = np.split(tone, [1, 2, 500, 1500, 1501, 20000, 44000])
  assert difference(log_mel_blocks(blocks, frontend), expected) < 1e-3


def test_thinning_keeps_the_reference_of_the_whole_clip(tone):
  # Thinning drops the loudest frame.
  frontend = FrontendConfig()
  tone[3 * 512 - 30 : 3 * 512 + 30] *= 3
  whole = log_mel(tone, ALL_FRAMES)
  kept = frontend.frame_indices(len(whole))
  thinned = log_mel(tone, frontend)
  np.testing.assert_array_equal(thinned, whole[kept])
  assert thinned.shape[0] == frontend.frames_of(len(tone))
  assert difference(log_mel_jax(tone, frontend), thinned) < 1e-3
  assert np.argmax(whole.max(1)) not in kept and thinned.max() < 0 and whole.max() == 0


@pytest.mark.parametrize(
  "frontend", [STREAM, MUSICNN, dataclasses.replace(STREAM, pad_mode="reflect")]
)
def test_stream_equals_offline_for_any_blocks(frontend, tone):
  expected = log_mel(tone, frontend)
  rng = np.random.default_rng(2)
  for largest in (1 << 16, 5000, 300):
    stream, parts, at = MelPowerStream(frontend), [], 0
    while at < len(tone):
      size = int(rng.integers(0, largest))
      parts.append(stream.push(tone[at : at + size]))
      at += size
    parts.append(stream.flush())
    assert difference(compress(np.concatenate(parts), frontend), expected) < 1e-5
  assert difference(log_mel_jax(tone, frontend), expected) < 1e-3


@pytest.mark.parametrize(
  "frontend", [FrontendConfig(), ALL_FRAMES, STREAM, FrontendConfig(pad_mode="reflect")]
)
@pytest.mark.parametrize("samples", [1, 2, 511, 512, 1024, 1025, 2100])
def test_very_short_clips_give_at_least_one_frame(frontend, samples, tone):
  values = log_mel(tone[:samples], frontend)
  assert values.shape == (frontend.frames_of(samples), 128) and len(values) >= 1
  assert np.isfinite(values).all()
  if frontend.pad_mode == "constant":
    assert difference(log_mel_jax(tone[:samples], frontend), values) < 2e-3
  if frontend.streamable:
    stream = MelPowerStream(frontend)
    parts = [stream.push(tone[k : k + 1]) for k in range(samples)]
    parts.append(stream.flush())
    assert difference(compress(np.concatenate(parts), frontend), values) < 1e-5


def test_silence_and_nothing():
  assert log_mel(np.zeros(0, np.float32), FrontendConfig()).shape == (0, 128)
  assert np.isfinite(log_mel(np.zeros(5000, np.float32), FrontendConfig())).all()
  assert np.isfinite(log_mel(np.zeros(5000, np.float32), MUSICNN)).all()


def test_jax_keeps_leading_axes_and_gradients(tone):
  both = np.stack([tone[:6000], 0.1 * tone[6000:12000]])
  values = log_mel_jax(both, FrontendConfig())
  for row, audio in zip(values, both, strict=True):
    assert difference(row, log_mel(audio, FrontendConfig())) < 2e-3
  grad = jax.grad(lambda audio: log_mel_jax(audio, dataclasses.replace(STREAM, power=1.0)).sum())
  assert np.isfinite(grad(tone[:6000])).all()
  assert np.isfinite(grad(np.zeros(6000, np.float32))).all()
