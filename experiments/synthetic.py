"""Does the whole chain work, without any music at hand?

    python -m genre_jax.main --config=experiments/synthetic.py[:NETWORK]

Trains on the built-in corpus: four styles made of two rhythms x two timbres, so that neither axis
is enough. Accuracy on it says nothing about real music.
"""

from genre_jax.experiments import base


def get_config(model: str = "axis_features"):
  """A short training of `model`, a name of genre_jax/models."""
  config = base.get_config()
  config.dataset.source = "synthetic"
  config.split.name = "grouped_kfold"
  config.model.name = model
  config.frontend.num_frames = 64
  config.segments.train_per_track = 4
  config.segments.eval_per_track = 2
  config.augment.mixup_alpha = 0.3
  config.train.ema_decay = 0.0  # an average over so few steps would remember the random start
  config.train.batch_size = 64
  config.train.epochs = 12
  config.train.best_metric = "nll"
  return config
