"""The excerpts of GTZAN and how their accuracy is written, for several benchmarks."""

import numpy as np

from genre_jax.data.sources.gtzan.tracks import artists, published_lists
from genre_jax.evaluation.metrics import accuracy_interval
from genre_jax.studies.corpora import find_corpus


def excerpts(split: str) -> list[tuple[str, str, str]]:
  """Return (path, genre, artist) of the excerpts of a published list, sorted by path."""
  lists, by_artist = published_lists(), artists()
  return [
    (str(path), path.parent.name, by_artist.get(path.stem, path.stem))
    for path in sorted((find_corpus("gtzan") / "audio").glob("*/*.flac"))
    if lists.get(path.stem) == split
  ]


def percent(correct: np.ndarray, groups) -> str:
  """Return a share with its interval, in percent.

  Args:
    correct: float[files], 1 for a file that is right, or a share.
    groups: Artist or speaker of each.
  """
  low, high = accuracy_interval(correct, tuple(groups))
  return f"{100 * correct.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"
