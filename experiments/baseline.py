"""What does a sound, ordinary square-kernel CNN reach on the four genres of the published study?

python -m genre_jax.main --config=experiments/baseline.py --config.dataset.path=GTZAN
"""

from genre_jax.experiments import axis_features


def get_config():
  """axis_features's recipe with the network `baseline`."""
  config = axis_features.get_config()
  config.model.name = "baseline"
  return config
