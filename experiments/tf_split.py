"""How well does a network that hears time and frequency apart tell four GTZAN genres?

    python -m genre_jax.main --config=experiments/tf_split.py --config.dataset.path=GTZAN
"""

from experiments import base


def get_config():
  """The chosen recipe for classical, disco, metal, rock."""
  config = base.get_config()
  config.model.name = "tf_split"
  return config
