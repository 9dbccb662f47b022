"""How well does a CNN that is split in time and frequency classify four GTZAN genres?

    python -m genre_jax.main --config=experiments/tf_split.py --config.dataset.path=GTZAN

The recipe is that of experiments/axis_features.py; results are in docs/results.
"""

from genre_jax.experiments import axis_features


def get_config():
  """Return the recipe for classical, disco, metal and rock, with the network `split_cnn`."""
  config = axis_features.get_config()
  config.model.name = "split_cnn"
  return config
