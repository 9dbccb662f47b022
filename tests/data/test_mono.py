"""Mixing to mono: channels do not cancel, and a constant offset changes nothing."""

import numpy as np
import pytest

from genre_jax.data.mono import MonoMixer, OffsetFilter

RATE = 8000


def mix(channels, sizes=(10**9,)):
  mixer, parts, at, number = MonoMixer(RATE), [], 0, 0
  channels = np.asarray(channels, np.float32)
  while at < channels.shape[1]:
    size = sizes[number % len(sizes)]
    parts.append(mixer.push(channels[:, at : at + size]))
    at, number = at + size, number + 1
  return np.concatenate([*parts, mixer.flush()])


def music(seconds=3.0, seed=0):
  return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def test_two_channels_become_their_mean_without_its_mean_over_the_first_second():
  channels = np.stack([music(seed=0), music(seed=1)])
  mean = channels.mean(0)
  np.testing.assert_allclose(mix(channels), mean - mean[:RATE].mean(), atol=1e-7)


@pytest.mark.parametrize("seconds", [0.01, 0.99, 1.0, 2.5])
def test_blocks_do_not_matter(seconds):
  channels = np.stack([music(seconds, 0), -music(seconds, 0) + music(seconds, 1) / 50])
  assert len(mix(channels)) == channels.shape[1]
  np.testing.assert_array_equal(mix(channels, (1, 777, 3)), mix(channels))


@pytest.mark.parametrize("count", [2, 6])
def test_opposite_channels_do_not_cancel(count):
  wave = music()
  channels = np.stack([wave * (-1) ** number for number in range(count)])
  np.testing.assert_allclose(mix(channels), wave - wave[:RATE].mean(), atol=1e-6)


@pytest.mark.parametrize(
  "second",
  [
    pytest.param(lambda wave: 0 * wave, id="empty"),
    pytest.param(lambda wave: np.roll(wave, 5), id="delayed"),
    pytest.param(lambda wave: wave, id="equal"),
  ],
)
def test_ordinary_channels_are_not_inverted(second):
  wave = music()
  mean = (wave + second(wave)) / 2
  np.testing.assert_allclose(
    mix(np.stack([wave, second(wave)])), mean - mean[:RATE].mean(), atol=1e-6
  )


def test_channels_that_become_opposite_are_inverted_a_second_later():
  wave = music(6)
  signs = np.where(np.arange(len(wave)) < 3 * RATE, 1, -1)
  mono = mix(np.stack([wave, signs * wave]))
  power = (mono.reshape(6, RATE) ** 2).mean(1) / (wave.reshape(6, RATE) ** 2).mean(1)
  np.testing.assert_allclose(power, [1, 1, 1, 0, 1, 1], atol=1e-3)


@pytest.mark.parametrize("offsets", [(0.3, 0.3), (0.3, -0.2), (-0.02, 0)])
def test_an_offset_changes_nothing(offsets):
  channels = np.stack([music(5, 0), music(5, 1)])

  def filtered(values):
    return OffsetFilter(RATE).push(mix(values))

  shifted = channels + np.array(offsets, np.float32)[:, None]
  np.testing.assert_allclose(filtered(shifted), filtered(channels), atol=2e-7)


def test_silence_after_music_with_an_offset_becomes_silence_within_a_second():
  audio = np.concatenate([music() + np.float32(0.01), np.zeros(3 * RATE, np.float32)])
  audio[: RATE // 2] -= np.float32(0.02)  # so that the first second does not show the offset
  rest = OffsetFilter(RATE).push(mix(audio[None]))[4 * RATE + RATE // 2 :]
  assert np.abs(rest).max() < 1e-5


def test_the_offset_filter_equals_its_recursion():
  rate, audio = 100, music(2)
  decay, level, expected = np.exp(-2 * np.pi / rate), 0.0, []
  for value in audio.astype(np.float64):
    level = decay * level + (1 - decay) * value
    expected.append(value - level)
  one, two = OffsetFilter(rate), OffsetFilter(rate)
  whole = one.push(audio)
  np.testing.assert_allclose(whole, expected, atol=1e-6)
  parts = [two.push(audio[at : at + 997]) for at in range(0, len(audio), 997)]
  np.testing.assert_array_equal(np.concatenate(parts), whole)
