"""Rebuild the two networks of the published comparison from its description.

Source: the notebook of LSE course ST456 (2024) in the public repository
rheamall/Music-Genre-Classification. It classifies 2 s segments of four GTZAN genres, given as
80 x 80 log-mel images. On segments split at random it reports 87.37 % for the traditional CNN and
92.66 % for the split one.

Both networks standardize each segment by its own mean and standard deviation. They ignore padding:
the tracks of the comparison are longer than a segment.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models.fast_conv import FastConv
from genre_jax.models.layers import at_least_float32, max_pool, standardize_window


class PublishedBaseline(nn.Module):
  """Three 5x5 convolutions with max-pooling, then a dense layer of 50 units.

  The optimizer applies the published L2 penalty of 0.01 on the dense layer: see
  experiments/published_baseline.py.

  Attributes:
    num_classes: Number of logits.
    channels: Output channels of each convolution.
    dtype: Dtype of the computation.
  """

  normalization = "window"
  num_classes: int
  channels: tuple[int, ...] = (4, 8, 16)
  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, log_mel, frame_mask=None, *, train=False):
    """Return genre logits.

    Args:
      log_mel: float[batch, time, frequency, 1] in dB.
      frame_mask: bool[batch, time], False where a frame is padding; None if no frame is.
      train: Unused: this network has no dropout.

    Returns:
      float32[batch, num_classes].
    """
    x = standardize_window(log_mel, frame_mask).astype(self.dtype)
    for i, channels in enumerate(self.channels):
      x = FastConv(channels, (5, 5), dtype=self.dtype, name=f"conv_{i}")(x)
      x = nn.relu(max_pool(x))
    x = x.reshape(x.shape[0], -1)
    x = nn.relu(nn.Dense(50, dtype=self.dtype, name="hidden")(x))
    self.sow("intermediates", "embedding", x)
    x = nn.Dense(self.num_classes, dtype=self.dtype, name="logits")(x)
    return x.astype(at_least_float32(self.dtype))


class PublishedTfSplit(nn.Module):
  """A time branch and a frequency branch, concatenated, then two 5x5 convolutions of 256 channels.

  Attributes:
    num_classes: Number of logits.
    kernel: Length of the time branch's kernels in frames and of the frequency branch's in bands.
    channels: Output channels of each branch's convolutions.
    pool_dropout: Dropout rate after each pooling.
    dropout: Dropout rate before the logits.
    dtype: Dtype of the computation.
  """

  normalization = "window"
  num_classes: int
  kernel: int = 5
  channels: tuple[int, int] = (64, 128)
  pool_dropout: float = 0.25
  dropout: float = 0.5
  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, log_mel, frame_mask=None, *, train=False):
    """Return genre logits.

    Args:
      log_mel: float[batch, time, frequency, 1] in dB.
      frame_mask: bool[batch, time], False where a frame is padding; None if no frame is.
      train: True to apply dropout (rng 'dropout').

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
      branches.append(dropout(nn.relu(max_pool(second(nn.relu(first(x))))), self.pool_dropout))
    x = jnp.concatenate(branches, axis=-1)
    x = nn.relu(FastConv(256, (5, 5), dtype=self.dtype, name="merged_0")(x))
    x = max_pool(FastConv(256, (5, 5), dtype=self.dtype, name="merged_1")(x))
    x = dropout(nn.relu(x), self.pool_dropout)
    x = x.reshape(x.shape[0], -1)
    x = nn.relu(nn.Dense(50, dtype=self.dtype, name="hidden")(x))
    self.sow("intermediates", "embedding", x)
    x = nn.Dense(self.num_classes, dtype=self.dtype, name="logits")(dropout(x, self.dropout))
    return x.astype(at_least_float32(self.dtype))
