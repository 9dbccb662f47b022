"""Silent stretches of a track are found, and only those."""

import dataclasses

import numpy as np
import pytest

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import log_mel
from genre_jax.data.silence import sounding_frames, without_silence

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
