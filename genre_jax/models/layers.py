"""Define the layers that several networks share: normalization, pooling, statistics over time.

The architectures of `genre_jax/models/` import this module; it imports no data, config or training
code. Every array has the axis order (batch, time, frequency, channel). No layer pads time, and
every statistic over time takes a mask, so that the content of padded frames reaches no logit.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models.fast_conv import column_sums

# dB per unit of a network's input: the levels of music (standard deviation 15 to 20 dB) get near 1.
DB_SCALE = 20.0
# Added to variances before a square root, whose gradient at 0 (silence) is infinite.
_EPSILON = 1e-5


def at_least_float32(dtype):
  """Return float32 for a narrower float dtype, else `dtype`: statistics need the precision."""
  return jnp.dtype(jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype)


def frame_weights(frame_mask, batch, num_frames, dtype=jnp.float32):
  """Return `frame_mask` as dtype[batch, num_frames]; all ones if it is None."""
  if frame_mask is None:
    return jnp.ones((batch, num_frames), dtype)
  return frame_mask.astype(dtype)


def standardize_window(log_mel, frame_mask=None):
  """Scale each segment to mean 0 and standard deviation 1 over its valid frames and all bands.

  Args:
    log_mel: float[B, T, M, 1].
    frame_mask: bool[B, T] or None, True where a frame is valid.

  Returns:
    At least float32[B, T, M, 1]; padded frames are 0, and a constant segment is 0 everywhere.
  """
  x = log_mel.astype(at_least_float32(log_mel.dtype))
  weight = frame_weights(frame_mask, *x.shape[:2], x.dtype)[:, :, None, None]
  count = jnp.maximum(weight.sum((1, 2, 3), keepdims=True) * x.shape[2], 1)
  x = jnp.where(weight > 0, x, 0)
  mean = x.sum((1, 2, 3), keepdims=True) / count
  centered = (x - mean) * weight
  variance = jnp.square(centered).sum((1, 2, 3), keepdims=True) / count
  return centered / jnp.sqrt(variance + _EPSILON)


def center_frames(log_mel, floor_db=60.0):
  """Remove each frame's level, so that the shape of its spectrum is left.

  Each frame is processed by itself, so a stream computes it once per frame. A gain (a constant
  added to all dB) changes nothing. Bands far below the frame's strongest band are raised to a
  floor first: they contain noise of recording and coding, which would dominate the mean of quiet
  frames.

  Args:
    log_mel: float[B, T, M, 1] in dB.
    floor_db: Distance of the floor below the frame's maximum, in dB; 0 for no floor.

  Returns:
    At least float32[B, T, M, 1] in dB, mean 0 over M.
  """
  x = log_mel.astype(at_least_float32(log_mel.dtype))
  x = x - x.max(2, keepdims=True)
  if floor_db:
    x = jnp.maximum(x, -floor_db)
  return x - x.mean(2, keepdims=True)


def mask_after(mask, kernel, stride=1):
  """Return the mask of the outputs of an unpadded convolution or pooling over time.

  An output is valid if all its inputs are. Valid frames come first, so the last input decides.

  Args:
    mask: float[B, T].
    kernel: Frames that one output covers.
    stride: Frames between outputs.

  Returns:
    float[B, (T - kernel) // stride + 1].
  """
  length = (mask.shape[1] - kernel) // stride + 1
  return mask[:, kernel - 1 : kernel + (length - 1) * stride : stride]


def max_pool(x):
  """Take maxima of 2 x 2 places without overlap and drop the remainder.

  It reshapes and reduces both axes at once, because XLA's window reductions are slow on CPU.

  Args:
    x: float[B, T, F, C].

  Returns:
    float[B, T // 2, F // 2, C].
  """
  batch, frames, bands, channels = x.shape
  x = x[:, : frames // 2 * 2, : bands // 2 * 2]
  return x.reshape(batch, frames // 2, 2, bands // 2, 2, channels).max((2, 4))


@jax.custom_vjp
def _normalize_columns(x, scale, bias):
  """Normalize the columns of float[N, C], with float[1, C] scale and bias.

  Returns:
    The normalized array, and the mean and variance that were used (not differentiated).
  """
  return _normalize_forward(x, scale, bias)[0]


def _normalize_forward(x, scale, bias):
  rows = x.shape[0]
  mean = column_sums(x) / rows
  variance = jnp.maximum(column_sums(x * x) / rows - mean * mean, 0)
  inverse = jax.lax.rsqrt(variance + _EPSILON)
  gain = inverse * scale
  return (x * gain + (bias - mean * gain), mean, variance), (x, scale, mean, inverse)


def _normalize_backward(saved, cotangents):
  x, scale, mean, inverse = saved
  dy = cotangents[0]
  rows = x.shape[0]
  d_bias = column_sums(dy)
  d_scale = (column_sums(dy * x) - mean * d_bias) * inverse  # sum of dy times the normalized x
  gain = scale * inverse
  slope = gain * inverse * d_scale / rows
  return dy * gain - x * slope + (slope * mean - gain * d_bias / rows), d_scale, d_bias


_normalize_columns.defvjp(_normalize_forward, _normalize_backward)


class BatchNorm(nn.Module):
  """Batch normalization over all axes but the last, three times as fast on CPU as Flax's.

  The formula and the variable names are those of `flax.linen.BatchNorm` with its 'fast variance'.
  The sums of the forward and the backward pass are matrix products.

  Attributes:
    use_running_average: Normalize with the running statistics instead of the batch's.
    momentum: Share of the old value that a running statistic keeps.
    dtype: Dtype of the output.
  """

  use_running_average: bool
  momentum: float = 0.9
  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x):
    """Normalize float[..., C] to dtype[..., C]; statistics are at least float32."""
    channels = x.shape[-1]
    scale = self.param("scale", nn.initializers.ones, (channels,))
    bias = self.param("bias", nn.initializers.zeros, (channels,))
    mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
    var = self.variable("batch_stats", "var", jnp.ones, (channels,))
    wide = at_least_float32(self.dtype)
    rows = x.astype(wide).reshape(-1, channels)
    scale, bias = scale.astype(wide)[None], bias.astype(wide)[None]
    if self.use_running_average:
      gain = scale * jax.lax.rsqrt(var.value[None].astype(wide) + _EPSILON)
      y = rows * gain + (bias - mean.value[None].astype(wide) * gain)
    else:
      y, batch_mean, batch_var = _normalize_columns(rows, scale, bias)
      if not self.is_initializing():
        keep = self.momentum
        mean.value = keep * mean.value + (1 - keep) * batch_mean[0].astype(mean.value.dtype)
        var.value = keep * var.value + (1 - keep) * batch_var[0].astype(var.value.dtype)
    return y.astype(self.dtype).reshape(x.shape)
