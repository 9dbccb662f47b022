"""What does the published split network reach on the published study's leaky split?

    python -m genre_jax.main --config=experiments/leaky_published_tf_split.py \
           --config.dataset.path=GTZAN

Published: 92.66 % on 400 songs, 40 frames a second and 80 mels. About 18 GFLOP a training segment:
hours on two cores.
"""

from genre_jax.experiments import leaky_published_baseline, published_tf_split


def get_config():
  """The published recipe on the archive's 26 frames x 128 mels."""
  return leaky_published_baseline.at_archive_rate(published_tf_split.get_config())
