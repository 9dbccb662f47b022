"""Small audio files for the tests of the package data."""

import numpy as np
import pytest
import soundfile


@pytest.fixture
def tone():
  """Two seconds of a tone with a little noise, float32[44100] at 22050 Hz."""
  noise = np.random.default_rng(0).standard_normal(44100)
  return (0.3 * np.sin(2 * np.pi * 440 * np.arange(44100) / 22050) + 0.01 * noise).astype(
    np.float32
  )


@pytest.fixture
def audio_folder(tmp_path, tone):
  """DIR/GENRE/FILE with two genres of four files."""
  for genre in ("samba", "tango"):
    (tmp_path / "songs" / genre).mkdir(parents=True)
    for number in range(4):
      soundfile.write(tmp_path / "songs" / genre / f"{number}.wav", tone[:8000], 22050)
  return tmp_path / "songs"
