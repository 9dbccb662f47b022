"""Layers that several networks share: normalization, convolution, pooling over time.

Stands below the architectures in `genre_jax/models/`; knows nothing of data, configs or training.
Every array has the axis order (batch, time, frequency, channel). No layer pads time, and every
statistic over time takes a mask, so that what a padded frame holds never reaches the logits.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models.fast_conv import column_sums, conv_1d

# dB per unit of a network's input: brings the levels of music (sd 15 to 20 dB) near 1.
DB_SCALE = 20.0
# Added to variances before a square root: the gradient of sqrt(0) is infinite (silence).
_EPSILON = 1e-5


def at_least_float32(dtype):
  """float32 for a narrower dtype, else `dtype`: levels and statistics need the digits."""
  return jnp.promote_types(dtype, jnp.float32)


def frame_weights(frame_mask, batch, num_frames, dtype=jnp.float32):
  """dtype[batch, num_frames]: `frame_mask` as numbers, ones where it is None."""
  if frame_mask is None:
    return jnp.ones((batch, num_frames), dtype)
  return frame_mask.astype(dtype)


def standardize_window(log_mel, frame_mask=None):
  """Gives each window mean 0 and standard deviation 1 over its valid frames and all bands.

  Args:
    log_mel: float[B, T, M, 1].
    frame_mask: bool[B, T] or None, True where a frame is valid.
  Returns:
    At least float32[B, T, M, 1]; padded frames are 0, a constant window is 0 everywhere.
  """
  x = log_mel.astype(at_least_float32(log_mel.dtype))
  weight = frame_weights(frame_mask, *x.shape[:2], x.dtype)[:, :, None, None]
  count = jnp.maximum(weight.sum((1, 2, 3), keepdims=True) * x.shape[2], 1)
  x = jnp.where(weight > 0, x, 0)
  mean = x.sum((1, 2, 3), keepdims=True) / count
  centerd = (x - mean) * weight
  variance = jnp.square(centerd).sum((1, 2, 3), keepdims=True) / count
  return centerd / jnp.sqrt(variance + _EPSILON)


def center_frames(log_mel, floor_db=60.0):
  """Removes each frame's own level: what is left is the shape of its spectrum.

  Uses one frame at a time, so a stream computes it once per frame, and a gain (a constant added to
  all dB) leaves no trace. Bands far below the frame's strongest one are lifted to a floor first:
  they hold noise of the recording and its coding, and in quiet frames would decide the mean.

  Args:
    log_mel: float[B, T, M, 1] in dB.
    floor_db: dB below the frame's maximum at which the floor lies; 0 means no floor.
  Returns:
    At least float32[B, T, M, 1] in dB, mean 0 over M.
  """
  x = log_mel.astype(at_least_float32(log_mel.dtype))
  x = x - x.max(2, keepdims=True)
  if floor_db:
    x = jnp.maximum(x, -floor_db)
  return x - x.mean(2, keepdims=True)


def masked_statistics(x, mask, kinds: Sequence[str] = ("mean", "std", "max")):
  """Statistics of the valid frames over time.

  Args:
    x: float[B, T, D].
    mask: float[B, T], 1 where a frame is valid; a row without any gives zeros (std: nearly).
    kinds: any of 'mean', 'std', 'max'.
  Returns:
    At least float32[B, len(kinds) * D], in the order of `kinds`.
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
  """Follows `mask` through an unpadded convolution or pooling over time.

  An output is valid if all its inputs are; valid frames come first, so the last input decides.

  Args:
    mask: float[B, T].
    kernel: frames that one output sees.
    stride: frames between outputs.
  Returns:
    float[B, (T - kernel) // stride + 1].
  """
  length = (mask.shape[1] - kernel) // stride + 1
  return mask[:, kernel - 1 : kernel + (length - 1) * stride : stride]


def pool_axis(x, size, axis, kind="max"):
  """Pooling without overlap along one axis; a remainder is dropped.

  By reshape, because XLA's window reductions are slow on CPU.

  Args:
    x: float[...].
    size: elements per output.
    axis: which axis, not negative.
    kind: 'max' or 'mean'.
  Returns:
    float[...], `size` times shorter along `axis`.
  """
  if size == 1:
    return x
  length = x.shape[axis] // size
  x = jax.lax.slice_in_dim(x, 0, length * size, axis=axis)
  x = x.reshape(*x.shape[:axis], length, size, *x.shape[axis + 1 :])
  return x.max(axis + 1) if kind == "max" else x.mean(axis + 1)


class Conv(nn.Module):
  """Convolution without padding in time and with 'same' padding in frequency, no bias.

  A kernel along one axis is a convolution in one dimension with the other axis in the batch, and is
  computed so: on CPU the gradient of XLA's two-dimensional convolutions costs 2 to 5 times as much
  (measured, 32 to 64 channels).

  Attributes:
    features: output channels.
    kernel: (frames, bands).
    frequency_stride: bands between outputs.
    zero_sum: takes the mean off each kernel, so that a constant added to the input changes nothing;
      the outermost bands are then repeated instead of zeros.
    dtype: of the computation.
  """

  features: int
  kernel: tuple[int, int]
  frequency_stride: int = 1
  zero_sum: bool = False
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x):
    """float[B, T, F, C] -> dtype[B, T - frames + 1, ceil(F / frequency_stride), features]."""
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
  """Batch normalization of float[N, C] with float[1, C] scale and bias.

  Returns:
    The normalized array, and the mean and variance (not differentiated) that were used.
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
  """Batch normalization over all axes but the last, three times as fast on CPU as flax's.

  The same formula and variable names as `flax.linen.BatchNorm` with its 'fast variance'; the sums
  of both passes are matrix products.

  Attributes:
    use_running_average: normalize with the running statistics instead of the batch's.
    momentum: share of the old value that a running statistic keeps.
    dtype: of the output.
  """

  use_running_average: bool
  momentum: float = 0.95
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x):
    """float[..., C] -> dtype[..., C]; statistics in at least float32."""
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
