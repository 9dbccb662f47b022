"""Classify the ten GTZAN genres with a CNN that is split in time and frequency.

Question: How accurate is `split_cnn` on ten genres, with the recipe of
experiments/axis_features_10.py?

    genre-jax main --config=experiments/tf_split_10.py --config.dataset.path=GTZAN

Cost: 2.9 minutes of training on 1 CPU core that other programs used at the same time.

Result: 70.3 % [58.4, 80.4] of n = 197 tracks of the validation list, the development set, mean of 5
seeds (P3 in docs/results). The brackets are the 95 % interval of a bootstrap over artists and
seeds. 68.6 and 69.7 % of n = 290 tracks of the official test list, measured apart (seeds 0 and 1 of
a trial of this design). `axis_features`, from whose kernels it starts, has 69.3 % there, mean of 3
seeds.
"""

from genre_jax.experiments import axis_features_10


def get_config():
  """Return the config for all ten genres."""
  config = axis_features_10.get_config()
  config.model.name = "split_cnn"
  return config
