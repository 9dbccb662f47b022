"""Classify segments of known songs with the published split network.

Question: How accurate is the published split network with its own recipe on the published study's
leaky split? The accuracy measures recognition of songs, not of genres.

    genre-jax main --config=experiments/leaky_published_tf_split.py --config.dataset.path=GTZAN

The input is that of the log-mel archive: 12.9 frames a second and 128 mels. The published study
used 40 frames a second and 80 mels.

Cost: 109.4 minutes of training on 1 or 2 shared CPU cores.

Result: 87.0 % [82.8, 90.6] of n = 774 test segments, 1 seed (P1 in docs/results). The brackets are
the 95 % interval of a bootstrap over artists. Published: 92.66 % on 400 songs.
"""

from genre_jax.experiments import leaky_published_baseline, published_tf_split


def get_config():
  """Return the published recipe on segments of 26 frames x 128 mels."""
  return leaky_published_baseline.at_archive_rate(published_tf_split.get_config())
