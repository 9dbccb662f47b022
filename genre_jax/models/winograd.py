"""Winograd's convolution along bands: as few as 8 products for 4 outputs of 5 taps, in place of 20.

Outputs and kernel are two polynomials' coefficients; their product is known by its values at seven
points and its highest coefficient. Eight inputs at a time become eight such values by a matrix, are
multiplied with the kernel's, and another matrix makes outputs of the products. Frames are left as
they are. After Winograd, "Arithmetic Complexity of Computations" (1980), and Lavin and Gray, "Fast
Algorithms for Convolutional Neural Networks" (2016).

Rounding is 6 to 16 times that of the plain sum: up to 5e-6 of the largest output for inputs and
kernels drawn at random, more where the plain sum cancels. More points save more products and lose
too many digits, as do tiles of two dimensions.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

# Small, and with inverses among them: their powers, which lose the digits, stay near 1.
_POINTS = np.array([0, 1, -1, 2, -2, 0.5, -0.5])
_TILE = len(_POINTS) + 1
WIDEST = 5  # bands of a kernel; with more, too few outputs come of a tile


@functools.lru_cache
def matrices(width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """What makes values of inputs, values of kernels, and outputs of the products.

  Args:
    width: bands of the kernel.
  Returns:
    float64[8, 8], float64[8, width] and float64[9 - width, 8].
  """
  outputs = _TILE + 1 - width
  others = [np.delete(_POINTS, i) for i in range(len(_POINTS))]
  of_inputs = np.zeros((_TILE, _TILE))
  for row, roots in zip(of_inputs, others, strict=False):
    row[:-1] = np.poly(roots)[::-1]
  of_inputs[-1] = np.poly(_POINTS)[::-1]
  distances = [np.prod(point - rest) for point, rest in zip(_POINTS, others, strict=True)]
  of_kernels = np.zeros((_TILE, width))
  of_kernels[:-1] = _POINTS[:, None] ** np.arange(width) / np.array(distances)[:, None]
  of_kernels[-1, -1] = 1
  to_outputs = np.zeros((outputs, _TILE))
  to_outputs[:, :-1] = _POINTS ** np.arange(outputs)[:, None]
  to_outputs[-1, -1] = 1
  return of_inputs, of_kernels, to_outputs


def convolve(x, kernel, padding):
  """Convolution with stride 1.

  Args:
    x: float[B, T, F, C].
    kernel: float[frames, bands, C, D], of 2 to `WIDEST` bands.
    padding: ((before, after) of frames, (before, after) of bands), the latter `bands - 1` in sum.
  Returns:
    float[B, T, F, D].
  """
  bands = x.shape[2]
  _, of_kernels, to_outputs = matrices(kernel.shape[1])
  kernels = jnp.einsum("vw,twcd->vtcd", of_kernels.astype(kernel.dtype), kernel)[:, :, None]
  products = [
    jax.lax.conv_general_dilated(
      value, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    for value, kernel in zip(_values(x, kernel.shape[1], padding), kernels, strict=True)
  ]
  y = jnp.stack(_sums(to_outputs, products), 3)
  return y.reshape(*y.shape[:2], -1, y.shape[-1])[:, :, :bands]


def kernel_gradient(x, dy, shape, padding):
  """Gradient of `convolve` by its kernel.

  Args:
    x: float[B, T, F, C].
    dy: float[B, T, F, D], the gradient by the output.
    shape: (frames, bands) of the kernel.
    padding: as of `convolve`.
  Returns:
    float[frames, bands, C, D].
  """
  height, width = shape
  frames, bands, features = dy.shape[1:]
  _, of_kernels, to_outputs = matrices(width)
  outputs = len(to_outputs)
  dy = jnp.pad(dy, ((0, 0), (0, 0), (0, -bands % outputs), (0, 0)))
  dy = dy.reshape(*dy.shape[:2], -1, outputs, features)
  d_products = _sums(to_outputs.T, [dy[:, :, :, i] for i in range(outputs)])
  d_kernels = jnp.stack(
    [
      jnp.stack([_columns(value[:, i : i + frames]).T @ _columns(d_product) for i in range(height)])
      for value, d_product in zip(_values(x, width, padding), d_products, strict=True)
    ]
  )
  return jnp.einsum("vw,vtcd->twcd", of_kernels.astype(x.dtype), d_kernels)


def _values(x, width, padding):
  """Eight of float[B, T + padding, tiles, C]."""
  outputs = _TILE + 1 - width
  tiles = -(-x.shape[2] // outputs)
  time, (before, _) = padding
  after = tiles * outputs + width - 1 - before - x.shape[2]
  x = jnp.pad(x, ((0, 0), time, (before, after), (0, 0)))
  inputs = [
    jax.lax.slice_in_dim(x, i, i + (tiles - 1) * outputs + 1, outputs, 2) for i in range(_TILE)
  ]
  return _sums(matrices(width)[0], inputs)


def _sums(matrix, arrays):
  """`matrix` times a column of arrays, without the products with 0 and 1."""
  sums = []
  for row in matrix:
    terms = [
      array if weight == 1 else float(weight) * array
      for weight, array in zip(row, arrays, strict=True)
      if weight
    ]
    sums.append(functools.reduce(jnp.add, terms))
  return sums


def _columns(x):
  """float[..., C] -> float[N, C]."""
  return x.reshape(-1, x.shape[-1])
