"""Classify four GTZAN genres with a CNN that is split in time and frequency.

Question: How accurate is `split_cnn` on the genres of the published study, with the recipe of
experiments/axis_features.py?

    genre-jax main --config=experiments/tf_split.py --config.dataset.path=GTZAN

Cost: 2.1 minutes of training on 1 or 2 shared CPU cores (one fold of the result below).

Result: Not measured on the validation list, which is the default. In 5-fold cross-validation with
disjoint artists (--config.split.name=artist_kfold): 83.9 % [76.9, 89.8] of n = 254 tracks, 1 seed
(P2 in docs/results). The brackets are the 95 % interval of a bootstrap over artists. The recipe was
compared on the same tracks in other folds, so the accuracy is optimistic.
"""

from genre_jax.experiments import axis_features


def get_config():
  """Return the config for classical, disco, metal and rock."""
  config = axis_features.get_config()
  config.model.name = "split_cnn"
  return config
