"""What does `split_cnn` reach where segments of one song stand on both sides, as published?

    python -m genre_jax.main --config=experiments/leaky_tf_split.py --config.dataset.path=GTZAN

The recipe is that of experiments/tf_split.py; split, windows of 2 s and their number are the
published study's (15 segments a song, split at random). The accuracy says how well songs are
recognized again, not how well genres are.
"""

from genre_jax.experiments import tf_split


def get_config():
  """`split_cnn` on 15 fixed segments of 26 frames, split at random."""
  return with_leaky_segments(tf_split.get_config())


def with_leaky_segments(config):
  """Gives a config the published study's segments, at the frame rate of the log-mel archive."""
  config.split.name = "leaky_segments"
  config.frontend.num_frames = 26  # 2 s
  config.segments.train = "fixed"
  config.segments.train_per_track = 15
  config.segments.eval_per_track = 15
  return config
