"""Convolve along bands by Winograd's algorithm: 8 products for 4 outputs of 5 taps instead of 20.

Outputs and kernel are the coefficients of two polynomials. Their product is determined by its
values at seven points and its highest coefficient. One matrix turns eight inputs into eight such
values, which are multiplied with those of the kernel; another matrix turns the products into
outputs. The algorithm is applied along bands only, not along frames. Sources: Winograd, "Arithmetic
Complexity of Computations" (1980); Lavin and Gray, "Fast Algorithms for Convolutional Neural
Networks" (2016).

The rounding error is 6 to 16 times that of the plain sum. For random inputs and kernels it is up to
5e-6 of the largest output, and more where the plain sum cancels. More points, or tiles in two
dimensions, save more products but lose too many digits.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

# Small numbers and their inverses: powers of the points, which cause the rounding, stay near 1.
_POINTS = np.array([0, 1, -1, 2, -2, 0.5, -0.5])
_TILE = len(_POINTS) + 1
MAX_BANDS = 5  # of a kernel; a wider one gives too few outputs per tile


@functools.lru_cache
def matrices(width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Return the matrices that transform inputs, kernels and products.

  Args:
    width: Bands of the kernel.

  Returns:
    float64[8, 8] from inputs to values, float64[8, width] from kernels to values, and
    float64[9 - width, 8] from products to outputs.
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
  """Convolve with stride 1.

  Args:
    x: float[B, T, F, C].
    kernel: float[frames, bands, C, D], of 2 to `MAX_BANDS` bands.
    padding: ((before, after) in frames, (before, after) in bands); the latter sum to `bands - 1`.

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
  """Compute the gradient of `convolve` with respect to its kernel.

  Args:
    x: float[B, T, F, C].
    dy: float[B, T, F, D], the gradient with respect to the output.
    shape: (frames, bands) of the kernel.
    padding: As in `convolve`.

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
  """Return the eight values of each tile of inputs, each float[B, T + padding, tiles, C]."""
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
  """Multiply `matrix` with a column of arrays, without the products with 0 and 1."""
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
  """Reshape float[..., C] to float[N, C]."""
  return x.reshape(-1, x.shape[-1])
