"""Synthetic audio that every contender can generate, identical in every environment."""

import os
import pathlib

import numpy as np

from genre_jax.data.sources.synthetic import CLIP_SECONDS, synthesize


def music(seconds: float, sample_rate: int, seed: int = 0) -> np.ndarray:
  """Return float32[samples], mono: concatenated clips of the synthetic corpus."""
  count = -(-int(seconds * 10) // int(CLIP_SECONDS * 10))
  parts = [synthesize((37 * (seed + number)) % 288, sample_rate) for number in range(count)]
  return np.concatenate(parts)[: int(seconds * sample_rate)]


def write_files(
  folder: pathlib.Path,
  kind: str,
  rate: int,
  *,
  channels: int,
  count: int,
  seconds: float,
  distinct: int = 12,
) -> None:
  """Write audio files as FOLDER/GENRE/NAME.

  Args:
    folder: created if absent.
    kind: 'wav', 'flac', 'mp3' or 'ogg'.
    rate: Hz.
    channels: 1 or 2, the second is the first with a small delay.
    count: number of files.
    seconds: length of each.
    distinct: number of files with different content; the others are links to them.
  """
  import soundfile

  for number in range(count):
    path = folder / f"genre{number % 4}" / f"{number:05d}.{kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if number >= distinct:
      first = number % distinct
      os.link(folder / f"genre{first % 4}" / f"{first:05d}.{kind}", path)
      continue
    sound = music(seconds, rate, seed=number)
    if channels == 2:
      sound = np.stack([sound, np.roll(sound, 20)], 1)
    with soundfile.SoundFile(path, "w", rate, channels) as file:
      for start in range(0, len(sound), rate):  # libsndfile's Vorbis encoder crashes on long blocks
        file.write(sound[start : start + rate])
