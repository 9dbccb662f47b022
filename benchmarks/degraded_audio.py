"""Degrade audio as encoders and noise do, for several benchmarks."""

import io

import numpy as np
import soundfile

RATE = 22050  # Hz


def mp3(samples, kilobits):
  """Encode as MP3 at a constant rate of 8 to 160 kbit/s (MPEG-2 layer 3), and decode."""
  stream = io.BytesIO()
  soundfile.write(
    stream,
    samples,
    RATE,
    format="MP3",
    bitrate_mode="CONSTANT",
    compression_level=1 - kilobits / 160,
  )
  stream.seek(0)
  return soundfile.read(stream, dtype="float32")[0]


def noisy(samples, rng):
  """Add white noise 20 dB below the clip."""
  noise = rng.standard_normal(len(samples)) * np.sqrt(np.mean(samples**2) / 100)
  return (samples + noise).astype(np.float32)
