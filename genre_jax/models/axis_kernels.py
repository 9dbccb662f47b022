"""Define the fixed kernels along frequency and along time, in NumPy alone.

`axis_statistics.py` computes statistics of their outputs; `split_cnn.py` learns changes of them.
"""

import numpy as np

LAGS = (1, 2, 4, 8, 16)  # frames, or bands, between the values whose difference is taken
GROUPS = 16  # of neighboring bands, over which differences and modulations are averaged
CEPSTRA = 30  # cosine coefficients with statistics of their own; higher ones in groups of 4
CORRELATED = 20  # of these, those with correlations in pairs and with modulations
# Cycles per frame: at 12.9 frames per second 0.6 to 6 Hz, from slow phrases to fast strumming.
RATES = tuple(float(rate) for rate in np.geomspace(0.0465, 0.465, 9))
CEPSTRAL_RATES = (0.062, 0.124, 0.248, 0.426)
MODULATION_FRAMES = 24  # length of the longest wave
SQUARE_SIZE = 5  # of the control's waves, which gives about the same number of weights
SQUARE_STRIDE = 2  # frames between them, which gives about the same number of operations


def cosine_kernel(bands):
  """Return float32[bands, bands - 1]: the orthonormal DCT-II without coefficient 0."""
  position, order = np.arange(bands)[:, None] + 0.5, np.arange(1, bands)[None]
  return np.float32(np.sqrt(2 / bands) * np.cos(np.pi / bands * position * order))


def wave_kernel(rates, frames, square):
  """Return kernels whose sums are zero: a cosine and a sine of each rate.

  Args:
    rates: Cycles per frame.
    frames: Frames of the segment, which limit the length.
    square: Return the control's kernels, which have about the same number of weights. Rising and
      falling waves alternate: they follow the sum or the difference of frame and column.

  Returns:
    float32[length, 2 * rates], or float32[length, SQUARE_SIZE, 2 * rates] if `square`.
  """
  if not square:
    return _waves(rates, min(MODULATION_FRAMES, frames))
  frames = min(SQUARE_SIZE, frames)
  row, column = np.meshgrid(np.arange(frames), np.arange(SQUARE_SIZE), indexing="ij")
  waves = _waves(rates, frames + SQUARE_SIZE - 1)
  rising = np.repeat(np.arange(len(rates)) % 2 > 0, 2)
  kernel = np.where(rising, waves[row + column], waves[row + SQUARE_SIZE - 1 - column])
  return kernel - kernel.mean((0, 1))


def _waves(rates, length):
  """Return float32[length, 2 * rates]: windowed cosines and sines whose sums are zero."""
  position = np.arange(length) - (length - 1) / 2
  out = []
  for rate in rates:
    size = min(length, max(6, round(2.5 / rate)))  # two and a half periods if `length` allows
    window = np.cos(np.pi * np.clip(position / (size + 1), -0.5, 0.5)) ** 2
    for wave in (np.cos(2 * np.pi * rate * position), np.sin(2 * np.pi * rate * position)):
      wave = window * wave
      out.append((wave - window * wave.sum() / window.sum()) / window.sum())
  return np.float32(np.stack(out, 1))
