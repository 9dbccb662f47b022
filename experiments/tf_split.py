"""Classify four GTZAN genres with a CNN that is split in time and frequency.

Question: How accurate is `split_cnn` on the genres of the published study, with the recipe of
experiments/axis_features.py?

    genre-jax main --config=experiments/tf_split.py --config.dataset.path=GTZAN

Cost: not measured with today's `split_cnn`.

Result: not measured with today's `split_cnn`. `axis_features`, from whose kernels it starts, has
85.2 % [77.5, 91.7] of n = 254 tracks in 5-fold cross-validation with disjoint artists (P2 in
docs/results) and 81.0 % of n = 119 tracks of the official test list.
"""

from genre_jax.experiments import axis_features


def get_config():
  """Return the config for classical, disco, metal and rock."""
  config = axis_features.get_config()
  config.model.name = "split_cnn"
  return config
