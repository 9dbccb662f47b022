"""Classify four GTZAN genres with a CNN that is split in time and frequency.

Question: How accurate is `split_cnn` on the genres of the published study, with the recipe of
experiments/axis_features.py?

    genre-jax main --config=experiments/tf_split.py --config.dataset.path=GTZAN

Cost: at most 1.7 minutes of training on one shared CPU core.

Result: 85.5 % [78.3, 91.5] of n = 254 tracks in 5-fold cross-validation with disjoint artists, mean
of 5 seeds (P2 in docs/results). The brackets are the 95 % interval of a bootstrap over artists and
seeds. The recipe was chosen on the same tracks in other folds, so the accuracy is optimistic.
"""

from genre_jax.experiments import axis_features


def get_config():
  """Return the config for classical, disco, metal and rock."""
  config = axis_features.get_config()
  config.model.name = "split_cnn"
  return config
