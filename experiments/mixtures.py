"""Find both genres in mixtures of two songs.

Question: How well does `split_cnn` find two genres that sound at once or one after the other?

    genre-jax main --config=experiments/mixtures.py --config.dataset.path=GTZAN

The data are pairs of real songs of different genres, mixed at random gains or joined end to end.
Training and evaluation share no artist (genre_jax/data/sources/mixtures.py). To compare networks,
set --config.model.name=square_cnn or baseline.

Cost: 0.6 minutes of training on one shared CPU core.

Result: macro PR-AUC 0.532 [0.469, 0.591] of n = 784 mixtures of validation clips, mean of 3 seeds;
the two true genres have the two highest probabilities in 13.0 % [6.1, 23.3] of them, where guessing
gives 0.250 and 2.2 % (mixtures in docs/results). The brackets are 95 % intervals of a bootstrap
over artists. The mixtures are the development set: they were used to choose the number of epochs
(notebook, rows 113 to 115).
"""

from genre_jax.experiments import base


def get_config():
  """Return the config: `split_cnn` at its default sizes with ten sigmoid outputs."""
  config = base.get_config()
  config.model.name = "split_cnn"
  config.task = "multi_label"
  config.dataset.source = "mixtures"
  config.dataset.genres = "all"
  config.split.name = "official"
  # 4 s: the length of a joined pair. A mixed pair has 2 s and is padded.
  config.frontend.num_frames = 52
  config.segments.train_per_track = 1
  config.segments.eval_per_track = 1
  config.train.label_smoothing = 0.05
  config.train.epochs = 6
  config.train.eval_every_epochs = 2
  return config
