"""Decoding of audio files: formats, rates, channels and damaged files."""

import os
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile

from genre_jax.data.audio import UnreadableAudio, read_audio, read_blocks
from genre_jax.data.silence import SilenceCutter


def write(path, audio, rate=22050, **options):
  soundfile.write(path, audio, rate, **options)
  return path


def read_plain(path, rate=22050, **options):
  """Return a file with its offset, mixed by the mean."""
  return np.concatenate(list(read_blocks(path, rate, plain_mean=True, **options)))


def reason(path, rate=22050):
  with pytest.raises(UnreadableAudio) as error:
    read_audio(path, rate)
  assert error.value.reason == str(error.value)
  return error.value.reason


def test_wav_is_read_exactly_for_all_block_sizes(tmp_path, tone):
  path = write(tmp_path / "a.wav", tone, subtype="FLOAT")
  np.testing.assert_array_equal(read_plain(path), tone)
  np.testing.assert_array_equal(read_plain(path, block_seconds=0.1), tone)
  blocks = list(read_blocks(path, 22050, block_seconds=0.1))
  assert len(blocks) > 5
  np.testing.assert_array_equal(np.concatenate(blocks), read_audio(path, 22050))


def test_an_offset_is_removed(tmp_path, tone):
  path = write(tmp_path / "a.wav", tone, subtype="FLOAT")
  moved = write(tmp_path / "b.wav", tone + np.float32(0.3), subtype="FLOAT")
  np.testing.assert_allclose(read_audio(moved, 22050), read_audio(path, 22050), atol=1e-6)
  np.testing.assert_allclose(read_audio(path, 22050), tone, atol=2e-3)


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3", "a.au", "a.opus"])
def test_formats(tmp_path, tone, name):
  opus = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
  path = write(tmp_path / name, tone, 24000 if opus else 22050, **opus)
  audio = read_audio(path, 24000 if opus else 22050)
  assert audio.dtype == np.float32
  assert abs(len(audio) - len(tone)) < 3000
  assert np.sqrt(np.mean(audio**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 44100, 48000, 96000, 192000])
def test_sample_rates(tmp_path, rate):
  wave = 0.5 * np.sin(2 * np.pi * 500 * np.arange(2 * rate) / rate)
  audio = read_audio(write(tmp_path / "a.wav", wave, rate, subtype="FLOAT"), 22050)
  expected = 0.5 * np.sin(2 * np.pi * 500 * np.arange(44100) / 22050)
  assert abs(len(audio) - 44100) <= 8
  np.testing.assert_allclose(audio[2000:40000], expected[2000:40000], atol=2e-3)


def test_resampled_blocks_join_up(tmp_path):
  wave = np.random.default_rng(1).standard_normal(96000).astype(np.float32) * 0.1
  path = write(tmp_path / "a.wav", wave, 48000, subtype="FLOAT")
  whole = read_audio(path, 22050)
  pieces = np.concatenate(list(read_blocks(path, 22050, block_seconds=0.037)))
  np.testing.assert_allclose(pieces, whole, atol=1e-6)


def test_eight_channels_become_their_mean(tmp_path, tone):
  channels = np.stack([tone * gain for gain in np.linspace(0, 1, 8)], axis=1)
  audio = read_plain(write(tmp_path / "a.wav", channels, subtype="FLOAT"))
  np.testing.assert_allclose(audio, tone * 0.5, atol=1e-6)


def test_symbolic_links_are_followed(tmp_path, tone):
  write(tmp_path / "a.wav", tone)
  os.symlink(tmp_path / "a.wav", tmp_path / "b.wav")
  os.symlink(tmp_path / "gone.wav", tmp_path / "c.wav")
  assert len(read_audio(tmp_path / "b.wav", 22050)) == len(tone)
  assert "no such file" in reason(tmp_path / "c.wav")


def test_missing_folder_empty_and_no_samples(tmp_path):
  assert "no such file" in reason(tmp_path / "a.wav")
  assert "not a file" in reason(tmp_path)
  (tmp_path / "b.wav").touch()
  assert "empty" in reason(tmp_path / "b.wav")
  assert "0 samples" in reason(write(tmp_path / "c.wav", np.zeros(0)))


@pytest.mark.parametrize("name", ["text.mp3", "text.wav", "text.ogg"])
def test_not_audio(tmp_path, name):
  (tmp_path / name).write_text("This is not music.\n" * 50)
  assert "cannot be decoded" in reason(tmp_path / name)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.au", "a.aiff"])
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_truncated(tmp_path, name, part):
  noise = np.random.default_rng(0).standard_normal(22050 * 6) * 0.1
  whole = write(tmp_path / name, noise).read_bytes()
  (tmp_path / name).write_bytes(whole[: int(part * len(whole))])
  assert "truncated" in reason(tmp_path / name) or "cannot be decoded" in reason(tmp_path / name)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity(tmp_path, tone, value):
  tone[22050] = value
  path = write(tmp_path / "a.wav", tone, subtype="FLOAT")
  assert reason(path) == "contains NaN or infinite samples (first at 1.00 s)"


def lying_header(path, tone, claimed, rate=22050, channels=1):
  samples = (tone * 32767).astype("<i2").tobytes()
  head = struct.pack(
    "<4sI4s4sIHHIIHH",
    b"RIFF",
    claimed,
    b"WAVE",
    b"fmt ",
    16,
    1,
    channels,
    rate,
    rate * 2 * channels,
    2 * channels,
    16,
  )
  path.write_bytes(head + struct.pack("<4sI", b"data", claimed) + samples)
  return path


def test_unknown_size_reads_until_the_end(tmp_path, tone):
  # Recorders write 0xFFFFFFFF, about 4 GiB, to a pipe.
  path = lying_header(tmp_path / "a.wav", tone, 0xFFFFFFFF)
  assert len(read_audio(path, 22050)) == len(tone)


def test_wrong_header_costs_no_memory(tmp_path, tone):
  tracemalloc.start()
  assert "truncated" in reason(lying_header(tmp_path / "a.wav", tone, 2_000_000_000))
  reason(lying_header(tmp_path / "b.wav", tone, 2_000_000_000, channels=1024))
  assert "sample rate" in reason(lying_header(tmp_path / "c.wav", tone, 88200, rate=7))
  assert tracemalloc.get_traced_memory()[1] < 100e6
  tracemalloc.stop()


def test_memory_does_not_grow_with_length(tmp_path):
  path = write(tmp_path / "a.wav", np.zeros(22050 * 600, np.int16))
  tracemalloc.start()
  total = sum(len(block) for block in read_blocks(path, 22050))
  assert total == 22050 * 600
  assert tracemalloc.get_traced_memory()[1] < 8e6
  tracemalloc.stop()


@pytest.mark.parametrize("block_seconds", [0.05, 10])
@pytest.mark.parametrize("value", [0.0, 0.25])
def test_digital_silence_is_cut_before_it_is_resampled(tmp_path, block_seconds, value):
  rng = np.random.default_rng(0)
  music = (0.1 * rng.standard_normal(3 * 44100)).astype(np.float32)
  quiet = np.full(2 * 44100, value, np.float32)
  parts = {
    "plain": [music],
    "silent": [quiet, music[:70000], quiet, music[70000:], quiet],
  }
  found = []
  for name, pieces in parts.items():
    soundfile.write(tmp_path / f"{name}.wav", np.concatenate(pieces), 44100, subtype="FLOAT")
    cutter = SilenceCutter(16000)
    blocks = read_blocks(
      tmp_path / f"{name}.wav", 16000, block_seconds, plain_mean=True, cutter=cutter
    )
    found.append(np.concatenate(list(blocks)))
  np.testing.assert_allclose(*found, atol=1e-6)
  assert cutter.samples == pytest.approx(9 * 16000, abs=2)
  starts = np.array([first for first, _ in cutter.pieces]) / 16000
  np.testing.assert_allclose(starts, [2, 4 + 70000 / 44100], atol=1e-3)
