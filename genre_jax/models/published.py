"""The two networks of the published comparison, rebuilt from its description.

Source: the notebook of LSE course ST456 (2024) in the public repository
rheamall/Music-Genre-Classification, which classifies 2 s segments of four GTZAN genres as
80 x 80 log-mel images: 87.37 % for the traditional CNN, 92.66 % for the split one, on segments
split at random. Both see windows standardised by their own mean and deviation. They take no
account of padding: the clips of the comparison are longer than a window.
"""

import flax.linen as nn
import jax.numpy as jnp

from genre_jax.models.layers import standardize_window


class PublishedBaseline(nn.Module):
  """Three 5x5 convolutions with max-pooling, then a dense layer of 50.

  The published L2 penalty of 0.01 on the dense layer is the optimizer's part: see
  experiments/published_baseline.py.
  """

  normalisation = "window"
  num_classes: int
  channels: tuple[int, ...] = (4, 8, 16)
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, log_mel, frame_mask=None, *, train=False):
    """Genre logits.

    Args:
      log_mel: float[batch, time, frequency, 1] in dB.
      frame_mask: bool[batch, time], False where a frame is padding; None where none is.
      train: unused, this network has no dropout.
    Returns:
      float32[batch, num_classes].
    """
    x = standardize_window(log_mel, frame_mask).astype(self.dtype)
    for i, channels in enumerate(self.channels):
      x = nn.relu(nn.Conv(channels, (5, 5), dtype=self.dtype, name=f"conv_{i}")(x))
      x = nn.max_pool(x, (2, 2), strides=(2, 2))
    x = x.reshape(x.shape[0], -1)
    x = nn.relu(nn.Dense(50, dtype=self.dtype, name="hidden")(x))
    self.sow("intermediates", "embedding", x)
    x = nn.Dense(self.num_classes, dtype=self.dtype, name="logits")(x)
    return x.astype(jnp.promote_types(self.dtype, jnp.float32))


class PublishedTfSplit(nn.Module):
  """A time branch and a frequency branch, concatenated, then two 5x5 convolutions of 256."""

  normalisation = "window"
  num_classes: int
  kernel: int = 5
  channels: tuple[int, int] = (64, 128)
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, log_mel, frame_mask=None, *, train=False):
    """Genre logits.

    Args:
      log_mel: float[batch, time, frequency, 1] in dB.
      frame_mask: bool[batch, time], False where a frame is padding; None where none is.
      train: dropout is on; needs the rng 'dropout'.
    Returns:
      float32[batch, num_classes].
    """
    def dropout(x, rate):
      return nn.Dropout(rate, deterministic=not train)(x)

    def pool(x):
      return nn.max_pool(x, (2, 2), strides=(2, 2))

    x = standardize_window(log_mel, frame_mask).astype(self.dtype)
    branches = []
    for name, kernel in (("time", (self.kernel, 1)), ("frequency", (1, self.kernel))):
      y = x
      for i, channels in enumerate(self.channels):
        y = nn.relu(nn.Conv(channels, kernel, dtype=self.dtype, name=f"{name}_{i}")(y))
      branches.append(dropout(pool(y), 0.25))
    x = jnp.concatenate(branches, axis=-1)
    for i in range(2):
      x = nn.relu(nn.Conv(256, (5, 5), dtype=self.dtype, name=f"merged_{i}")(x))
    x = dropout(pool(x), 0.25)
    x = x.reshape(x.shape[0], -1)
    x = nn.relu(nn.Dense(50, dtype=self.dtype, name="hidden")(x))
    self.sow("intermediates", "embedding", x)
    x = nn.Dense(self.num_classes, dtype=self.dtype, name="logits")(dropout(x, 0.5))
    return x.astype(jnp.promote_types(self.dtype, jnp.float32))
