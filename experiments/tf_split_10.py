"""How well does a CNN that is split in time and frequency classify the ten GTZAN genres?

    python -m genre_jax.main --config=experiments/tf_split_10.py --config.dataset.path=GTZAN

The recipe is that of experiments/axis_features_10.py; results are in docs/results.
"""

from genre_jax.experiments import axis_features_10


def get_config():
  """Return the recipe for every genre, with the network `split_cnn`."""
  config = axis_features_10.get_config()
  config.model.name = "split_cnn"
  return config
