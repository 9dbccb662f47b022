"""Find the frames of a track that contain sound: silent stretches are no evidence of a genre.

A stretch is silent if it stays 60 dB below the track's loudest second for at least one second.
Prepared sets, predictions and pages leave such stretches out. The streaming classifier cannot know
the loudest second and uses an absolute level instead.
"""

import numpy as np

from genre_jax.data.frontend import FrontendConfig

SILENCE_DB = 60.0
SECONDS = 1.0  # length of the loudest part, and shortest silent stretch


def frame_energies(mel_power: np.ndarray) -> np.ndarray:
  """Return the energy of frames, float64[frames], of mel power, float32[frames, n_mels]."""
  return mel_power.sum(axis=1, dtype=np.float64)


def sounding_frames(energies: np.ndarray, frame_rate: float) -> np.ndarray:
  """Return which frames of a track contain sound.

  Args:
    energies: float64[frames], as of `frame_energies`.
    frame_rate: Frames per second.

  Returns:
    bool[frames]; False in stretches of at least a second whose frames are all 60 dB below the mean
    of the loudest second.
  """
  length = max(1, round(SECONDS * frame_rate))
  if not len(energies):
    return np.zeros(0, bool)
  sums = np.concatenate([[0.0], np.cumsum(energies)])
  width = min(length, len(energies))
  loudest = float((sums[width:] - sums[:-width]).max()) / width
  quiet = np.concatenate([[False], energies <= loudest * 10 ** (-SILENCE_DB / 10), [False]])
  sounding = np.ones(len(energies), bool)
  edges = np.flatnonzero(quiet[1:] != quiet[:-1])
  for start, end in zip(edges[::2], edges[1::2], strict=True):
    if end - start >= length:
      sounding[start:end] = False
  return sounding


def without_silence(log_mel: np.ndarray, frontend: FrontendConfig) -> np.ndarray:
  """Return the frames of a clip that contain sound.

  Args:
    log_mel: float32[frames, n_mels], compressed as the front end says.
    frontend: Front end.

  Returns:
    float32[sounding frames, n_mels].
  """
  exact = log_mel.astype(np.float64)
  if frontend.compression == "log10_10000":
    power = (10**exact - 1) / 10000
  else:
    power = 10 ** (exact / 10)
    if frontend.top_db:  # many bands at the floor are not a sound
      power -= power.min()
  sounding = sounding_frames(frame_energies(power), frontend.frame_rate)
  return log_mel if sounding.all() else log_mel[sounding]
