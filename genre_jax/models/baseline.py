"""A sound modern square-kernel CNN, the yardstick for `axis_features`.

3x3 convolutions with batch normalization in four stages, each with max-pooling, then the mean over
time and frequency and the maximum over time. Nothing about it is special: it is what one would
write today.
"""

import flax.linen as nn
import jax.numpy as jnp

from genre_jax.models.layers import masked_statistics, pool_axis, standardize_window


class Baseline(nn.Module):
  """A plain 3x3 CNN with global pooling.

  Attributes:
    num_classes: logits.
    channels: of each stage; a stage halves time and frequency.
    dropout: rate before the logits.
    dtype: of the computation.
  """

  normalization = "window"  # mean 0 and deviation 1, from the window alone
  num_classes: int
  channels: tuple[int, ...] = (16, 32, 64, 128)
  dropout: float = 0.3
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, log_mel, frame_mask=None, *, train=False):
    """Genre logits.

    Args:
      log_mel: float[batch, time, frequency, 1] in dB.
      frame_mask: bool[batch, time], False where a frame is padding; None where none is.
      train: batch statistics are used and updated, dropout is on (rng 'dropout').
    Returns:
      float32[batch, num_classes].
    """
    x = standardize_window(log_mel, frame_mask).astype(self.dtype)
    mask = jnp.ones(log_mel.shape[:2], bool) if frame_mask is None else frame_mask
    mask = mask.astype(self.dtype)
    for i, channels in enumerate(self.channels):
      x = nn.Conv(channels, (3, 3), use_bias=False, dtype=self.dtype, name=f"conv_{i}")(x)
      # Pooled before normalization: the same up to the scale's sign, for a quarter of the work.
      x = jnp.where(mask[..., None, None] > 0, x, jnp.finfo(self.dtype).min)
      x = pool_axis(pool_axis(x, 2, 1), 2, 2)
      mask = pool_axis(mask, 2, 1)
      x = nn.BatchNorm(
        use_running_average=not train, momentum=0.9, dtype=self.dtype, name=f"norm_{i}"
      )(jnp.where(mask[..., None, None] > 0, x, 0))
      x = nn.relu(x) * mask[..., None, None]
    weight = mask.sum(1)[:, None] * x.shape[2]
    mean = x.sum((1, 2)) / jnp.maximum(weight, 1)
    x = jnp.concatenate([mean, masked_statistics(x.mean(2), mask, ("max",)).astype(self.dtype)], -1)
    self.sow("intermediates", "embedding", x)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    x = nn.Dense(self.num_classes, dtype=self.dtype, name="logits")(x)
    return x.astype(jnp.promote_types(self.dtype, jnp.float32))
