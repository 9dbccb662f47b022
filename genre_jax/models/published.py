"""The two networks of the published comparison, rebuilt from its description.

Source: the notebook of LSE course ST456 (2024) in the public repository
rheamall/Music-Genre-Classification, which classifies 2 s segments of four GTZAN genres as
80 x 80 log-mel images: 87.37 % for the traditional CNN, 92.66 % for the split one, on segments
split at random. Both see windows standardized by their own mean and deviation. They take no
account of padding: the clips of the comparison are longer than a window.
"""

import flax.linen as nn
import jax.numpy as jnp

from genre_jax.models.fast_conv import FastConv
from genre_jax.models.layers import pool_axis, standardize_window


class PublishedBaseline(nn.Module):
  """Three 5x5 convolutions with max-pooling, then a dense layer of 50.

  The published L2 penalty of 0.01 on the dense layer is the optimizer's part: see
  experiments/published_baseline.py.
  """

  normalization = "window"
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
      x = FastConv(channels, (5, 5), dtype=self.dtype, name=f"conv_{i}")(x)
      x = nn.relu(_pool(x))
    x = x.reshape(x.shape[0], -1)
    x = nn.relu(nn.Dense(50, dtype=self.dtype, name="hidden")(x))
    self.sow("intermediates", "embedding", x)
    x = nn.Dense(self.num_classes, dtype=self.dtype, name="logits")(x)
    return x.astype(jnp.promote_types(self.dtype, jnp.float32))


class PublishedTfSplit(nn.Module):
  """A time branch and a frequency branch, concatenated, then two 5x5 convolutions of 256.

  Attributes:
    num_classes: logits.
    kernel: frames of the time branch's kernels, bands of the frequency branch's.
    channels: of each branch's convolutions.
    pool_dropout: rate after each pooling.
    dropout: rate before the logits.
    dtype: of the computation.
  """

  normalization = "window"
  num_classes: int
  kernel: int = 5
  channels: tuple[int, int] = (64, 128)
  pool_dropout: float = 0.25
  dropout: float = 0.5
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

    x = standardize_window(log_mel, frame_mask).astype(self.dtype)
    branches = []
    for name, kernel in (("time", (self.kernel, 1)), ("frequency", (1, self.kernel))):
      first, second = (
        FastConv(channels, kernel, dtype=self.dtype, name=f"{name}_{i}")
        for i, channels in enumerate(self.channels)
      )
      branches.append(dropout(nn.relu(_pool(second(nn.relu(first(x))))), self.pool_dropout))
    x = jnp.concatenate(branches, axis=-1)
    x = nn.relu(FastConv(256, (5, 5), dtype=self.dtype, name="merged_0")(x))
    x = _pool(FastConv(256, (5, 5), dtype=self.dtype, name="merged_1")(x))
    x = dropout(nn.relu(x), self.pool_dropout)
    x = x.reshape(x.shape[0], -1)
    x = nn.relu(nn.Dense(50, dtype=self.dtype, name="hidden")(x))
    self.sow("intermediates", "embedding", x)
    x = nn.Dense(self.num_classes, dtype=self.dtype, name="logits")(dropout(x, self.dropout))
    return x.astype(jnp.promote_types(self.dtype, jnp.float32))


def _pool(x):
  """Maximum over 2 x 2; before a ReLU, where there is less of it to do, the same as after."""
  return pool_axis(pool_axis(x, 2, 1), 2, 2)
