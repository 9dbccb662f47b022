"""Fit a linear softmax layer on embeddings by L-BFGS: no further package is needed."""

import numpy as np

from genre_jax.evaluation.metrics import softmax

STEPS = 60
# Share of the median deviation that is added to each one: a feature that hardly varies among the
# examples would become huge elsewhere. CONSTANT ones are rounding.
LEAST_DEVIATION, CONSTANT = 0.3, 1e-6


def fit(
  features: np.ndarray, labels: np.ndarray, start: np.ndarray, decay: float
) -> tuple[np.ndarray, np.ndarray]:
  """Fit a layer that is added to another one; classes count equally, whatever their rows.

  Args:
    features: float32[rows, features].
    labels: int[rows].
    start: float32[rows, classes], logits of the other layer; zeros for none.
    decay: Weight of the squared length of the kernel of standardized features.

  Returns:
    float32[features, classes], the kernel, and float32[classes], the bias, for features that are
    not standardized.
  """
  from scipy.optimize import minimize  # slow to import

  mean, deviation = features.mean(0), features.std(0)
  varies = deviation > CONSTANT
  typical = np.median(deviation[varies]) if varies.any() else 1.0
  deviation = np.where(varies, deviation + LEAST_DEVIATION * typical, 1.0).astype(np.float32)
  x = (features - mean) / deviation
  num_classes = start.shape[1]
  counts = np.maximum(np.bincount(labels, minlength=num_classes), 1)
  weights = (1 / counts)[labels]
  weights = (weights / weights.sum()).astype(np.float32)
  target = np.eye(num_classes, dtype=np.float32)[labels]
  shape = (x.shape[1] + 1, num_classes)

  def loss(flat):
    kernel = flat.reshape(shape).astype(np.float32)
    probabilities = softmax(start + x @ kernel[:-1] + kernel[-1])
    likelihood = np.maximum((probabilities * target).sum(1), 1e-12)
    error = ((probabilities - target) * weights[:, None]).astype(np.float32)
    gradient = np.concatenate([x.T @ error + decay * kernel[:-1], error.sum(0, keepdims=True)])
    value = -float(weights @ np.log(likelihood)) + decay / 2 * float((kernel[:-1] ** 2).sum())
    return value, gradient.astype(np.float64).ravel()

  found = minimize(
    loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": STEPS}
  )
  kernel = found.x.reshape(shape)
  scaled = kernel[:-1] / deviation[:, None]
  return scaled.astype(np.float32), (kernel[-1] - mean @ scaled).astype(np.float32)
