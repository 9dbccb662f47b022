"""Classify four GTZAN genres with the published split network.

Question: How accurate is the published split network with its own recipe if training and test share
no artist?

    genre-jax main --config=experiments/published_tf_split.py --config.dataset.path=GTZAN

The input is as published: segments of 2 s with 80 mels and 80 frames, computed from audio files.

Cost: Not measured with this input; 56.0 minutes of training on 1 or 2 shared CPU cores with the
input of the result below.

Result: Not measured with this input. With 26 frames x 128 mels of the log-mel archive, on fold 0 of
5 with disjoint artists: 84.6 % [55.3, 100.0] of n = 52 tracks, 1 seed (P2 in docs/results). The
brackets are the 95 % interval of a bootstrap over artists. Published, with segments split at random
(--config.split.name=leaky_segments): 92.66 %.
"""

from genre_jax.experiments import published_baseline


def get_config():
  """Return the config: Adam 1e-3, batches of 256, 20 epochs, 15 fixed segments a song."""
  config = published_baseline.get_config()
  config.model.name = "published_tf_split"
  config.optimizer.name = "adam"
  config.optimizer.learning_rate = 1e-3
  config.optimizer.weight_decay = 0.0
  config.train.batch_size = 256
  return config
