"""How well does a network that hears time and frequency apart tell four GTZAN genres?

    python -m genre_jax.main --config=experiments/tf_split.py --config.dataset.path=GTZAN

How it was chosen, and what it reaches: docs/results/notebook.md, rows 46 on, and RESULTS.md.
"""

from genre_jax.experiments import base


def get_config():
  """The chosen recipe for classical, disco, metal, rock."""
  config = base.get_config()
  config.model.name = "axis_features"
  # Another room or mastering. What moves along an axis blurs the differences that are heard: speed
  # and pitch are left alone (measured).
  config.augment.eq_db = 4.0
  config.train.label_smoothing = 0.0
  config.train.epochs = 72
  config.train.eval_every_epochs = 12  # of the training's time, most would be evaluation
  return config
