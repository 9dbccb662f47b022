"""Classify the ten GTZAN genres with a CNN that is split in time and frequency.

Question: How accurate is `split_cnn` on ten genres, with the recipe of
experiments/axis_features_10.py?

    genre-jax main --config=experiments/tf_split_10.py --config.dataset.path=GTZAN

Cost: Not measured with this recipe; 0.7 minutes of training on 1 or 2 shared CPU cores with the
recipe of the result below.

Result: Not measured with this recipe. With the recipe in use before rows 46 to 68 of
docs/results/notebook.md: 57.2 % [44.7, 69.9] of n = 197 tracks of the validation list, the
development set, mean of 5 seeds (P3 in docs/results). The brackets are the 95 % interval of a
bootstrap over artists and seeds.
"""

from genre_jax.experiments import axis_features_10


def get_config():
  """Return the config for all ten genres."""
  config = axis_features_10.get_config()
  config.model.name = "split_cnn"
  return config
