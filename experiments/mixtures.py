"""Does a network that hears time and frequency apart find both genres where two sound at once?

    python -m genre_jax.main --config=experiments/mixtures.py --config.dataset.path=GTZAN

Pairs of real songs of different genres, mixed at random gains or joined end to end, artists apart
(genre_jax/data/sources/mixtures.py). Other networks: --config.model.name=baseline or square_cnn.
"""

from genre_jax.experiments import base


def get_config():
  """split_cnn at its own sizes, ten sigmoids."""
  config = base.get_config()
  config.model.name = "split_cnn"
  config.task = "multi_label"
  config.dataset.source = "mixtures"
  config.dataset.genres = "all"
  config.split.name = "official"
  # 4 s: a joined pair whole; a mixed one lasts 2 s, whatever its genres.
  config.frontend.num_frames = 52
  config.segments.train_per_track = 1
  config.segments.eval_per_track = 1
  config.train.label_smoothing = 0.05
  config.train.epochs = 6
  config.train.eval_every_epochs = 2
  return config
