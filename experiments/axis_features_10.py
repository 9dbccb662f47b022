"""Classify the ten GTZAN genres from fixed statistics along time and along frequency.

Question: How accurate is `axis_features` on ten genres?

    genre-jax main --config=experiments/axis_features_10.py --config.dataset.path=GTZAN

Cost: 0.6 minutes of training on 1 or 2 shared CPU cores.

Result: 72.5 % [61.2, 82.2] of n = 197 tracks of the validation list, mean of 5 seeds (P3 in
docs/results). The brackets are the 95 % interval of a bootstrap over artists and seeds. The list is
the development set: it was used to choose the network's sizes, so the accuracy is optimistic.
"""

from genre_jax.experiments import axis_features


def get_config():
  """Return the config for all ten genres."""
  config = axis_features.get_config()
  config.dataset.genres = "all"
  config.train.epochs = 30  # about the number of updates of 72 epochs on four genres
  config.train.eval_every_epochs = 5
  return config
