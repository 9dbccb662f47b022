"""Train convolutions faster on CPU, with the parameters and results of `flax.linen.Conv`.

If a gradient is computed and the platform is the CPU, each of output, input gradient and kernel
gradient of `FastConv` takes the form that was measured to be fastest there
(docs/results/speed-notes.md). On other platforms, and in inference and exports, XLA's own
convolution runs. `musicnn.py` uses `blocks_1d` everywhere.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from genre_jax.models import winograd

# From this number of input and output channels on, matrix products take most of the time, so that
# saving products is worth additional sums.
_MANY = 64
# Channels that fill the vectors of a matrix product; with fewer, bands are moved to the channels.
_WIDE = 32
# Of `blocks_1d`: outputs times channels of a block.
_BLOCK = 128
# With fewer input channels XLA's own gradient for a two-dimensional kernel is faster.
_FEW = 32


class FastConv(nn.Module):
  """Convolution with the parameters and results of `flax.linen.Conv` with its defaults.

  Attributes:
    features: Number of output channels.
    kernel: (frames, bands).
    use_bias: False for no bias.
    dtype: Dtype of the computation.
  """

  grad_cam_layer = True  # Grad-CAM may show this layer's output
  features: int
  kernel: tuple[int, int]
  use_bias: bool = True
  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x):
    """Convolve float[B, T, F, C] to dtype[B, T, F, features]."""
    kernel = self.param(
      "kernel",
      nn.initializers.lecun_normal(),
      (*self.kernel, x.shape[-1], self.features),
      jnp.float32,
    )
    bias = jnp.zeros(self.features, jnp.float32)
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros, bias.shape, bias.dtype)
    return conv(*(value.astype(self.dtype) for value in (x, kernel, bias)))


@jax.custom_vjp
def conv(x, kernel, bias):
  """Convolve with 'SAME' padding and stride 1.

  Args:
    x: float[B, T, F, C].
    kernel: float[frames, bands, C, D].
    bias: float[D].

  Returns:
    float[B, T, F, D].
  """
  return _plain(x, kernel) + bias[None, None, None]


def _forward(x, kernel, bias):
  y = jax.lax.platform_dependent(x, kernel, cpu=_output, default=_plain)
  return y + bias[None, None, None], (x, kernel)


def _backward(saved, dy):
  def fast(x, kernel, dy):
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    return _output(dy, turned, turned=True), _kernel_gradient(x, kernel, dy), _bias_gradient(dy)

  def plain(x, kernel, dy):
    return *jax.vjp(_plain, x, kernel)[1](dy), dy.sum((0, 1, 2))

  return jax.lax.platform_dependent(*saved, dy, cpu=fast, default=plain)


conv.defvjp(_forward, _backward)


def _plain(x, kernel, padding="SAME"):
  return jax.lax.conv_general_dilated(
    x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def same_padding(size):
  """Return (before, after), the 'SAME' padding of a kernel of `size`."""
  return (size - 1) // 2, size // 2


def _few_products(kernel):
  """Return True if `winograd` is the fastest form."""
  return (
    min(kernel.shape[2:]) >= _MANY
    and 3 <= kernel.shape[1] <= winograd.MAX_BANDS
    and jnp.finfo(kernel.dtype).bits >= 32  # narrower dtypes lack the precision
  )


def _output(x, kernel, turned=False):
  """Convolve in the form that is fastest on CPU.

  Args:
    x: float[B, T, F, C].
    kernel: float[frames, bands, C, D].
    turned: Pad as the input's gradient needs it: 'SAME' padding with both ends exchanged.

  Returns:
    float[B, T, F, D].
  """
  padding = tuple(same_padding(n)[:: -1 if turned else 1] for n in kernel.shape[:2])
  form = winograd.convolve if _few_products(kernel) else _widened
  return form(x, kernel, padding)


def _widened(x, kernel, padding):
  """Convolve with several neighboring bands as channels, if there are few channels.

  `group` neighboring outputs become channels of one output. The kernel contains a copy of itself
  for each of them, shifted by one band each. This takes more products, but of a shape that the CPU
  computes several times as fast. The zeros between the copies spread a value that is not finite to
  the neighboring bands.

  Args:
    x: float[B, T, F, C].
    kernel: float[frames, bands, C, D].
    padding: ((before, after) in frames, (before, after) in bands).

  Returns:
    float[B, T, F, D].
  """
  size, frames, bands, channels = x.shape
  height, width, _, features = kernel.shape
  time, (before, after) = padding
  group = max(_WIDE // max(channels, features), 1)
  if group == 1:
    return _plain(x, kernel, padding)
  blocks = -(-bands // group)
  reach = -(-(group - 1 + width) // group)  # blocks of bands that one block of outputs covers
  total = (blocks + reach - 1) * group
  x = jnp.pad(x, ((0, 0), (0, 0), (before, total - before - bands), (0, 0)))
  x = x.reshape(size, frames, blocks + reach - 1, group * channels)
  free = reach * group - width
  kernel = jnp.stack(
    [jnp.pad(kernel, ((0, 0), (i, free - i), (0, 0), (0, 0))) for i in range(group)], 3
  )
  kernel = kernel.reshape(height, reach, group * channels, group * features)
  y = _plain(x, kernel, (time, (0, 0)))
  return y.reshape(size, frames, blocks * group, features)[:, :, :bands]


def _kernel_gradient(x, kernel, dy):
  """Compute the kernel's gradient row by row.

  Each row is a convolution in one dimension, because XLA's gradients in two dimensions are slow.
  """
  height, width, channels, features = kernel.shape
  if _few_products(kernel):
    return winograd.kernel_gradient(
      x, dy, (height, width), (same_padding(height), same_padding(width))
    )
  if channels < _FEW and height > 1 and width > 1:
    return jax.vjp(lambda kernel: _plain(x, kernel), kernel)[1](dy)[0]
  if width == 1 < height:  # exchanging frames and bands makes it one row
    turned = _kernel_gradient(x.swapaxes(1, 2), kernel.swapaxes(0, 1), dy.swapaxes(1, 2))
    return turned.swapaxes(0, 1)
  frames, bands = x.shape[1:3]

  def row(x, kernel):
    return jax.lax.conv_general_dilated(
      x.reshape(-1, bands, channels), kernel, (1,), "SAME", dimension_numbers=("NHC", "HIO", "NHC")
    )

  x = jnp.pad(x, ((0, 0), same_padding(height), (0, 0), (0, 0)))
  dy = dy.reshape(-1, bands, features)
  return jnp.stack(
    [
      jax.linear_transpose(functools.partial(row, x[:, i : i + frames]), kernel[0])(dy)[0]
      for i in range(height)
    ]
  )


def _bias_gradient(dy):
  """Sum over all axes but the last, as a matrix product if there are many channels."""
  features = dy.shape[-1]
  if features < _MANY:
    return dy.sum((0, 1, 2))
  return column_sums(dy.reshape(-1, features))[0]


def column_sums(x):
  """Sum float[N, C] to float[1, C] by a matrix product: XLA's CPU reductions are slower."""
  return jnp.ones((1, x.shape[0]), x.dtype) @ x


def blocks_1d(x, kernel, padding):
  """Convolve one channel along time by one matrix product of blocks with shifted kernels.

  Args:
    x: float[N, L].
    kernel: float[k, D].
    padding: Number of zeros (before, after).

  Returns:
    float[N, L', D].
  """
  rows, length = x.shape
  width, features = kernel.shape
  group = max(_BLOCK // features, 1)
  outputs = length + sum(padding) - width + 1
  blocks = -(-outputs // group)
  reach = -(-(group - 1 + width) // group)  # blocks that a block of outputs covers
  after = (blocks + reach - 1) * group - padding[0] - length
  x = jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (padding[0], after, 0)))
  x = x.reshape(rows, blocks + reach - 1, group)
  x = jnp.concatenate([x[:, i : i + blocks] for i in range(reach)], -1)
  free = reach * group - width
  kernel = jnp.stack([jnp.pad(kernel, ((i, free - i), (0, 0))) for i in range(group)], 1)
  y = x.reshape(rows * blocks, -1) @ kernel.reshape(reach * group, group * features)
  return y.reshape(rows, blocks * group, features)[:, :outputs]
