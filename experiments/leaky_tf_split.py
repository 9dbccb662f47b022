"""Classify segments of known songs with a CNN that is split in time and frequency.

Question: How accurate is `split_cnn` if segments of one song are in both training and test, as in
the published study? The accuracy measures recognition of songs, not of genres.

    genre-jax main --config=experiments/leaky_tf_split.py --config.dataset.path=GTZAN

Segments of 2 s, 15 a song, are split at random. The equalizer in training, which simulates other
recordings, is off. Everything else is that of experiments/tf_split.py.

Cost: at most 1.8 minutes of training on one shared CPU core.

Result: 96.9 % [95.3, 98.2] of n = 774 test segments, mean of 3 seeds (P1 in docs/results). The
brackets are the 95 % interval of a bootstrap over artists and seeds.
"""

from genre_jax.experiments import tf_split


def get_config():
  """Return the config with 15 fixed segments of 26 frames, split at random."""
  config = with_leaky_segments(tf_split.get_config())
  config.augment.eq_db = 0.0  # training and test have the same recordings
  return config


def with_leaky_segments(config):
  """Set the segments of the published study, at the frame rate of the log-mel archive.

  Args:
    config: Config to change in place.

  Returns:
    The same config.
  """
  config.split.name = "leaky_segments"
  config.frontend.num_frames = 26  # 2 s
  config.segments.train = "fixed"
  config.segments.train_per_track = 15
  config.segments.eval_per_track = 15
  return config
