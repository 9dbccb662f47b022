"""What does the published traditional CNN reach on the published study's leaky split?

    python -m genre_jax.main --config=experiments/leaky_published_baseline.py \
           --config.dataset.path=GTZAN

Published: 87.37 % on 400 songs, 40 frames a second and 80 mels. Here the network hears what the
log-mel archive holds: 12.9 frames a second and 128 mels.
"""

from genre_jax.experiments import leaky_tf_split, published_baseline


def get_config():
  """The published recipe on the archive's 26 frames x 128 mels."""
  return at_archive_rate(published_baseline.get_config())


def at_archive_rate(config):
  """Gives a published recipe the archive's spectrograms and the study's segments."""
  config.frontend.n_mels = 128
  config.frontend.hop_length = 512
  config.frontend.frame_stride = 1292 / 387
  return leaky_tf_split.with_leaky_segments(config)
