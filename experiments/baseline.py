"""Classify four GTZAN genres with a plain CNN of 3x3 kernels.

Question: How accurate is an ordinary CNN on the genres of the published study, with the recipe of
experiments/axis_features.py?

    genre-jax main --config=experiments/baseline.py --config.dataset.path=GTZAN

Cost: 4.0 minutes of training on 1 or 2 shared CPU cores.

Result: 83.7 % [66.5, 96.9] of n = 86 tracks of the validation list, the development set, mean of 3
seeds. The brackets are the 95 % interval of a bootstrap over artists and seeds.
"""

from genre_jax.experiments import axis_features


def get_config():
  """Return the config of `axis_features` with the network `baseline`."""
  config = axis_features.get_config()
  config.model.name = "baseline"
  return config
