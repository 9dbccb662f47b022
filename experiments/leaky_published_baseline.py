"""Classify segments of known songs with the published traditional CNN.

Question: How accurate is the published CNN with its own recipe on the published study's leaky
split? The accuracy measures recognition of songs, not of genres.

    genre-jax main --config=experiments/leaky_published_baseline.py --config.dataset.path=GTZAN

The input is that of the log-mel archive: 12.9 frames a second and 128 mels. The published study
used 40 frames a second and 80 mels.

Cost: 1.0 minute of training on 1 or 2 shared CPU cores.

Result: 86.5 % [81.8, 90.5] of n = 774 test segments, mean of 5 seeds (P1 in docs/results). The
brackets are the 95 % interval of a bootstrap over artists and seeds. Published: 87.37 % on 400
songs.
"""

from genre_jax.experiments import leaky_tf_split, published_baseline


def get_config():
  """Return the published recipe on segments of 26 frames x 128 mels."""
  return at_archive_rate(published_baseline.get_config())


def at_archive_rate(config):
  """Set the front end of the log-mel archive and the segments of the published study.

  Args:
    config: Config to change in place.

  Returns:
    The same config.
  """
  config.frontend.n_mels = 128
  config.frontend.hop_length = 512
  config.frontend.frame_stride = 1292 / 387
  return leaky_tf_split.with_leaky_segments(config)
