"""Classify four GTZAN genres with the published traditional CNN.

Question: How accurate is the published CNN with its own recipe if training and test share no
artist?

    genre-jax main --config=experiments/published_baseline.py --config.dataset.path=GTZAN

The input is as published: segments of 2 s with 80 mels and 80 frames, computed from audio files.

Cost: Not measured with this input; 0.4 minutes of training on 1 or 2 shared CPU cores with the
input of the result below.

Result: Not measured with this input. With 26 frames x 128 mels of the log-mel archive, on fold 0 of
5 with disjoint artists: 80.8 % [54.0, 97.5] of n = 52 tracks, mean of 3 seeds (P2 in docs/results).
The brackets are the 95 % interval of a bootstrap over artists and seeds. Published, with segments
split at random (--config.split.name=leaky_segments): 87.37 %.
"""

from genre_jax.experiments import base


def get_config():
  """Return the config: SGD 0.01, batches of 32, 20 epochs, 15 fixed segments a song."""
  config = base.get_config()
  config.model.name = "published_baseline"
  config.frontend.n_mels = 80
  config.frontend.num_frames = 80
  config.frontend.hop_length = 551  # 80 frames in 2 s
  config.frontend.frame_stride = 1.0
  config.segments.train = "fixed"
  config.segments.train_per_track = 15
  config.segments.eval_per_track = 15
  config.optimizer.name = "sgd"
  config.optimizer.learning_rate = 0.01
  config.optimizer.schedule = "constant"
  config.optimizer.warmup_fraction = 0.0
  # The published L2 penalty on the dense layer is 0.01 |w|^2; its gradient is 0.02 w.
  config.optimizer.weight_decay = 0.02
  config.optimizer.weight_decay_on = "^hidden/kernel$"
  config.optimizer.clip_norm = 0.0
  config.train.label_smoothing = 0.0
  config.train.ema_decay = 0.0
  config.train.batch_size = 32
  config.train.epochs = 20
  config.train.eval_every_epochs = 1
  return config
