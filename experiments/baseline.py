"""What does a sound, ordinary square-kernel CNN reach on the four genres of the published study?

python -m genre_jax.main --config=experiments/baseline.py --config.dataset.path=GTZAN
"""

from experiments import tf_split


def get_config():
  """tf_split's recipe with the network `baseline`."""
  config = tf_split.get_config()
  config.model.name = "baseline"
  return config
