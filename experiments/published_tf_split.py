"""What does the published split network reach, under its own recipe?

    python -m genre_jax.main --config=experiments/published_tf_split.py --config.dataset.path=GTZAN

The published 92.66 % came from segments split at random (split.name=leaky_segments); the default
here keeps artists apart. Costs hours without a GPU: 8.5 million parameters, see --mode=summary.
"""

from genre_jax.experiments import published_baseline


def get_config():
  """Adam 1e-3, batches of 256, 20 epochs, 15 fixed segments a song."""
  config = published_baseline.get_config()
  config.model.name = "published_tf_split"
  config.optimizer.name = "adam"
  config.optimizer.learning_rate = 1e-3
  config.optimizer.weight_decay = 0.0
  config.train.batch_size = 256
  return config
