"""Define the layers that several networks share: normalization, convolution, pooling over time.

The architectures of `genre_jax/models/` import this module; it imports no data, config or training
code. Every array has the axis order (batch, time, frequency, channel). No layer pads time, and
every statistic over time takes a mask, so that the content of padded frames reaches no logit.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models.fast_conv import column_sums, conv_1d

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


def masked_statistics(x, mask, kinds: Sequence[str] = ("mean", "std", "max")):
  """Compute statistics over time of the valid frames.

  Args:
    x: float[B, T, D].
    mask: float[B, T], 1 where a frame is valid. A row without a valid frame gives 0 (std: the
      square root of 1e-5).
    kinds: Any of 'mean', 'std', 'max'.

  Returns:
    At least float32[B, len(kinds) * D], in the order of `kinds`.

  Raises:
    ValueError: If a kind is unknown.
  """
  x = x.astype(at_least_float32(x.dtype))
  weight = mask[:, :, None].astype(x.dtype)
  x = jnp.where(weight > 0, x, 0)
  count = jnp.maximum(weight.sum(1), 1)
  mean = x.sum(1) / count
  out = []
  for kind in kinds:
    if kind == "mean":
      out.append(mean)
    elif kind == "std":
      variance = (jnp.square(x - mean[:, None]) * weight).sum(1) / count
      out.append(jnp.sqrt(variance + _EPSILON))
    elif kind == "max":
      largest = jnp.where(weight > 0, x, -jnp.inf).max(1)
      out.append(jnp.where(weight.sum(1) > 0, largest, 0))
    else:
      raise ValueError(f"unknown statistic {kind!r}: give mean, std or max")
  return jnp.concatenate(out, -1)


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


class Conv(nn.Module):
  """Convolution without bias and without padding in time, with 'same' padding in frequency.

  A kernel along one axis is computed as a convolution in one dimension, with the other axis in the
  batch. On CPU the gradient of XLA's two-dimensional convolutions takes 2 to 5 times as long
  (measured, 32 to 64 channels).

  Attributes:
    features: Number of output channels.
    kernel: (frames, bands).
    frequency_stride: Bands between outputs.
    zero_sum: Subtract each kernel's mean, so that a constant added to the input changes nothing.
      The padding then repeats the outermost bands instead of zeros.
    dtype: Dtype of the computation.
  """

  grad_cam_layer = True  # Grad-CAM may show this layer's output
  features: int
  kernel: tuple[int, int]
  frequency_stride: int = 1
  zero_sum: bool = False
  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x):
    """Convolve float[B, T, F, C].

    Returns:
      dtype[B, T - frames + 1, ceil(F / frequency_stride), features].
    """
    batch, time, bands, channels = x.shape
    frames, width = self.kernel
    kernel = self.param(
      "kernel",
      nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal"),
      (frames, width, channels, self.features),
    )
    if self.zero_sum:
      kernel = kernel - kernel.mean((0, 1), keepdims=True)
    x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
    padding = (width // 2, (width - 1) // 2)
    if self.zero_sum and width > 1:
      x = jnp.pad(x, ((0, 0), (0, 0), padding, (0, 0)), "edge")
      padding = (0, 0)
    if frames == 1:
      x = x.reshape(batch * time, x.shape[2], channels)
      x = conv_1d(x, kernel[0], self.frequency_stride, padding)
      return x.reshape(batch, time, x.shape[1], self.features)
    if width == 1 and self.frequency_stride == 1:
      x = x.swapaxes(1, 2).reshape(batch * bands, time, channels)
      x = conv_1d(x, kernel[:, 0], 1, (0, 0))
      return x.reshape(batch, bands, x.shape[1], self.features).swapaxes(1, 2)
    return jax.lax.conv_general_dilated(
      x,
      kernel,
      (1, self.frequency_stride),
      [(0, 0), padding],
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


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
  momentum: float = 0.95
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
