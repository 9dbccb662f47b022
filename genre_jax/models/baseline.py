"""Define `baseline`, a plain CNN with square kernels that the other networks are compared with.

Four stages of 3x3 convolution, batch normalization and max-pooling are followed by the mean over
time and frequency and the maximum over time.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models.fast_conv import FastConv
from genre_jax.models.layers import (
  BatchNorm,
  at_least_float32,
  frame_weights,
  max_pool,
  standardize_window,
)


class Baseline(nn.Module):
  """A plain 3x3 CNN with global pooling.

  Attributes:
    num_classes: Number of logits.
    channels: Output channels of each stage; a stage halves time and frequency.
    dropout: Dropout rate before the logits.
    dtype: Dtype of the computation.
  """

  normalization = "window"  # each segment gets mean 0 and standard deviation 1
  num_classes: int
  channels: tuple[int, ...] = (16, 32, 64, 128)
  dropout: float = 0.3
  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, log_mel, frame_mask=None, *, train=False):
    """Return genre logits.

    Args:
      log_mel: float[batch, time, frequency, 1] in dB.
      frame_mask: bool[batch, time], False where a frame is padding, at the end; None if none is.
      train: True to use and update batch statistics and to apply dropout (rng 'dropout').

    Returns:
      float32[batch, num_classes].
    """
    x = standardize_window(log_mel, frame_mask).astype(self.dtype)
    mask = frame_weights(frame_mask, *log_mel.shape[:2], self.dtype)
    for i, channels in enumerate(self.channels):
      x = FastConv(channels, (3, 3), use_bias=False, dtype=self.dtype, name=f"conv_{i}")(x)
      # Pooling before normalization gives the same up to the sign of the scale, and needs a quarter
      # of the operations.
      x = jnp.where(mask[..., None, None] > 0, x, jnp.finfo(self.dtype).min)
      x = max_pool(x)
      mask = mask[:, : 2 * x.shape[1] : 2]  # padding is at the end
      x = jnp.where(mask[..., None, None] > 0, x, 0)
      x = BatchNorm(not train, dtype=self.dtype, name=f"norm_{i}")(x)
      x = nn.relu(x) * mask[..., None, None]
    weight = mask.sum(1)[:, None] * x.shape[2]
    mean = x.sum((1, 2)) / jnp.maximum(weight, 1)
    x = jnp.concatenate([mean, x.mean(2).max(1)], -1)  # padding is 0, and no value is lower
    self.sow("intermediates", "embedding", x)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    x = nn.Dense(self.num_classes, dtype=self.dtype, name="logits")(x)
    return x.astype(at_least_float32(self.dtype))
