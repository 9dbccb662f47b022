"""Silent stretches of a track are found, and only those."""

import dataclasses

import numpy as np
import pytest

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import log_mel
from genre_jax.data.silence import SilenceCutter, sounding_frames, without_silence

RATE = 10.0  # frames per second


def energies(*parts):
  """Return energies of (seconds, level in dB) parts."""
  return np.concatenate([np.full(round(seconds * RATE), 10 ** (db / 10)) for seconds, db in parts])


@pytest.mark.parametrize(
  ("parts", "silent"),
  [
    ([(3, 0)], []),
    ([(3, 0), (2, -np.inf)], [1]),
    ([(2, -70), (3, 0), (1, -61), (3, -20)], [0, 2]),
    ([(3, 0), (0.9, -90), (3, 0)], []),  # a short pause is part of the music
    ([(3, 0), (5, -59)], []),
    ([(0.5, 0)], []),
  ],
)
def test_stretches(parts, silent):
  expected = np.concatenate(
    [np.full(round(part[0] * RATE), number not in silent) for number, part in enumerate(parts)]
  )
  np.testing.assert_array_equal(sounding_frames(energies(*parts), RATE), expected)


def test_no_frames():
  assert sounding_frames(np.zeros(0), RATE).shape == (0,)


@pytest.mark.parametrize("compression", ["db", "log10_10000"])
@pytest.mark.parametrize("hiss", [0.0, 3e-5])
def test_log_mel_loses_its_silence(compression, hiss):
  frontend = dataclasses.replace(
    FrontendConfig(), sample_rate=8000, fmax=4000.0, frame_stride=1.0, compression=compression
  )
  rng = np.random.default_rng(0)
  music = rng.normal(0, 0.1, 4 * 8000).astype(np.float32)
  silence = rng.normal(0, 1, 3 * 8000).astype(np.float32) * np.float32(hiss)
  whole = log_mel(np.concatenate([music, silence]), frontend)
  kept = without_silence(whole, frontend)
  seconds = len(kept) / frontend.frame_rate
  assert 4 <= seconds < 4.3
  np.testing.assert_array_equal(kept, whole[: len(kept)])
  assert without_silence(kept, frontend) is kept


def cut(audio, rate=8000, sizes=(10**9,), loudest=0.0):
  """Return the output of a SilenceCutter and the cutter."""
  cutter, parts, at, number = SilenceCutter(rate, loudest), [], 0, 0
  while at < len(audio):
    size = sizes[number % len(sizes)]
    parts.append(cutter.push(audio[at : at + size]))
    at, number = at + size, number + 1
  return np.concatenate([*parts, cutter.flush()]), cutter


def noise(seconds, level, seed=0, rate=8000):
  rng = np.random.default_rng(seed)
  return (level * rng.standard_normal(round(seconds * rate))).astype(np.float32)


@pytest.mark.parametrize("hiss", [0.0, 1e-5])
@pytest.mark.parametrize("samples", [100, 7960, 7976, 7984, 7992, 8000, 8008])
def test_pauses_of_about_a_second_do_not_depend_on_blocks(samples, hiss):
  pause = noise(2, hiss, 1)[:samples]
  audio = np.concatenate([noise(3, 0.1), pause, noise(2, 0.1, 2), pause[:50], noise(1, 0.1, 3)])
  kept, cutter = cut(audio)
  in_blocks, other = cut(audio, sizes=(80,))  # whose runs of quiet hops all reach an edge
  np.testing.assert_array_equal(kept, in_blocks)
  assert cutter.pieces == other.pieces
  assert len(kept) == len(audio) - (samples if samples >= 8000 else 0)


@pytest.mark.parametrize("hiss", [0.0, 1e-5, 3e-4])
@pytest.mark.parametrize("sizes", [(10**9,), (7, 8000, 1), (80,)])
def test_silence_after_and_inside_is_cut_exactly(hiss, sizes):
  music = noise(6, 0.1)
  audio = np.concatenate([music[:24000], noise(3, hiss, 1), music[24000:], noise(5, hiss, 2)])
  kept, cutter = cut(audio, sizes=sizes)
  np.testing.assert_array_equal(kept, music)
  assert cutter.pieces == [[0, 24000], [48000, 24000]] and cutter.samples == len(audio)
  positions = cutter.positions(np.array([0, 23999, 24000, 47999]))
  np.testing.assert_array_equal(positions, [0, 23999, 48000, 71999])


@pytest.mark.parametrize("offset", [0.0, 0.25])
@pytest.mark.parametrize("sizes", [(10**9,), (7, 801), (1,)])
def test_digital_silence_is_cut_to_the_sample(offset, sizes):
  music = noise(2.0007, 0.1)[:16003] + np.float32(offset)
  music[[0, 5003, 5004, -1]] += 0.3  # not silent at the edges of pieces
  silence = np.full(9001, offset, np.float32)
  audio = np.concatenate([silence, music[:5004], silence, music[5004:], silence])
  kept, cutter = cut(audio, sizes=sizes)
  np.testing.assert_array_equal(kept, music)
  assert cutter.pieces == [[9001, 5004], [23006, len(music) - 5004]]


def test_digital_silence_before_is_cut_at_once():
  music = noise(2, 0.1)
  kept, cutter = cut(np.concatenate([noise(3, 0.0), music]))
  np.testing.assert_array_equal(kept, music)
  assert cutter.pieces == [[24000, 16000]]


def test_a_gain_does_not_make_music_silent():
  audio = np.concatenate([noise(2, 0.1), noise(2, 0.005, 1)]) * np.float32(0.005)
  np.testing.assert_array_equal(cut(audio)[0], audio)


def test_hiss_before_is_cut_when_the_loudest_second_is_known():
  music = noise(2, 0.1)
  audio = np.concatenate([noise(3, 3e-5, 1), music])
  first, cutter = cut(audio)
  assert len(first) == len(audio)
  assert cutter.misses_silence()
  again, cutter = cut(audio, loudest=cutter.loudest)
  np.testing.assert_array_equal(again, music)
  assert not cutter.misses_silence()


@pytest.mark.parametrize("sizes", [(10**9,), (7, 801)])
def test_short_pauses_and_quiet_music_are_kept(sizes):
  audio = np.concatenate(
    [noise(2, 0.1), noise(0.9, 0.0), noise(2, 0.1), noise(3, 2e-3), noise(0.5, 0)]
  )
  np.testing.assert_array_equal(cut(audio, sizes=sizes)[0], audio)
  np.testing.assert_array_equal(cut(audio[:5], sizes=sizes)[0], audio[:5])


@pytest.mark.parametrize("sizes", [(10**9,), (7, 801)])
@pytest.mark.parametrize("extra", range(1, 9))
def test_a_faint_last_sample_before_digital_silence_is_kept(sizes, extra):
  music = noise(2, 0.1)[: 15000 + extra]
  music[-1] = 2e-3  # as quiet as silence, in the mean of its hop
  audio = np.concatenate([music, noise(2, 0.0)])
  np.testing.assert_array_equal(cut(audio, sizes=sizes)[0], music)


def test_a_gain_does_not_change_what_is_silent():
  audio = np.concatenate([noise(2, 0.1), noise(2, 4e-3), noise(2, 0.1), noise(2, 5e-5)])
  kept = cut(audio)[1].pieces
  assert len(kept) == 1 and kept[0][1] < len(audio)
  for gain in (0.003, 0.1, 2):
    assert cut((gain * audio).astype(np.float32))[1].pieces == kept


def test_only_silence_gives_nothing():
  kept, cutter = cut(noise(3, 0.0))
  assert not len(kept) and cutter.pieces == [] and cutter.samples == 24000
  assert cutter.positions(np.array([5])).shape == (1,)
