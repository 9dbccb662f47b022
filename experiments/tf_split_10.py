"""Classify the ten GTZAN genres with a CNN that is split in time and frequency.

Question: How accurate is `split_cnn` on ten genres, with the recipe of
experiments/axis_features_10.py?

    genre-jax main --config=experiments/tf_split_10.py --config.dataset.path=GTZAN

Cost: not measured with today's `split_cnn`.

Result: 68.6 and 69.7 % of n = 290 tracks of the official test list, measured apart (seeds 0 and 1
of a trial of this design). `axis_features`, from whose kernels it starts, has 69.3 % there, mean of
3 seeds.
"""

from genre_jax.experiments import axis_features_10


def get_config():
  """Return the config for all ten genres."""
  config = axis_features_10.get_config()
  config.model.name = "split_cnn"
  return config
