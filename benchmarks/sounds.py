"""Sounds that every contestant can make for itself, the same in every environment."""

import numpy as np

from genre_jax.data.synthetic import CLIP_SECONDS, synthesize


def music(seconds: float, sample_rate: int, seed: int = 0) -> np.ndarray:
  """float32[samples], mono: pieces of the built-in corpus one after another."""
  count = -(-int(seconds * 10) // int(CLIP_SECONDS * 10))
  parts = [synthesize((37 * (seed + number)) % 288, sample_rate) for number in range(count)]
  return np.concatenate(parts)[:int(seconds * sample_rate)]
