"""Fit the layer of the default model: ten genres, all labels, and sounds other than music.

A layer is (kernel, bias), float[FEATURES, outputs] and float[outputs].
"""

import numpy as np
import scipy.optimize
import scipy.special

from genre_jax.inference.model import load
from genre_jax.inference.published import PARTS
from tools.genre_features import PARTS_OF

MUSICNN, YAMNET = ("convolution", "embedding", "tags"), ("sound_embedding",)
YAMNET_SHARE = 0.4  # of the logits of ten genres
PENALTY, ITERATIONS = 0.001, 300
NOT_MUSIC_PENALTY = 0.01
# Of music against other sounds; chosen with the tables of the tool, not fitted.
MUSIC_BIAS = -0.75
# Chosen with the songs of _report, not fitted: labels that only AudioSet has are rarer, and a tag
# that fits everything means little.
RARE_BIAS, VAGUE_BIAS, VAGUE = -3.0, -1.0, ("experimental",)
SPEEDS = (1.0, 0.94, 1.06)  # of further examples
KINDS = ("speech", "effect", "noise")  # of recordings, besides music


def scale_of(features):
  """Return the mean and the standard deviation of each feature."""
  return features.mean(0), features.std(0) + 1e-3


def _fit(features, truth, columns, scale, classes, penalty=PENALTY):
  """Fit on segments, each clip and each class with equal weight; the kernel has all features."""
  x = np.concatenate(features)
  clip = np.repeat(np.arange(len(features)), list(map(len, features)))
  weight = 1 / np.array([len(one) for one in features])[clip]
  weight = weight / np.bincount(truth, minlength=classes)[truth[clip]]
  weight *= len(features) / weight.sum()
  chosen = np.r_[tuple(PARTS_OF[name] for name in columns)]
  mean, deviation = scale[0][chosen], scale[1][chosen]
  part, bias = _logistic((x[:, chosen] - mean) / deviation, truth[clip], weight, classes, penalty)
  kernel = np.zeros((x.shape[1], classes))
  kernel[chosen] = part / deviation[:, None]
  return kernel, bias - (mean / deviation) @ part


def fit_ten(excerpts, truth, chosen, scale, classes):
  """Fit both regressions on the chosen clips at all speeds; return their weighted sum."""
  several = np.tile(chosen, len(SPEEDS))
  some = [one for one, keep in zip(excerpts, several, strict=True) if keep]
  labels = np.tile(truth, len(SPEEDS))[several]
  layers = [_fit(some, labels, part, scale, classes) for part in (MUSICNN, YAMNET)]
  shares = (1 - YAMNET_SHARE, YAMNET_SHARE)
  return tuple(sum(s * layer[i] for s, layer in zip(shares, layers, strict=True)) for i in (0, 1))


def centered(features, layer):
  """Return the mean logits of clips, relative to their mean over the classes."""
  logits = np.stack([x.mean(0) @ layer[0] + layer[1] for x in features])
  return logits - logits.mean(1, keepdims=True)


def fit_labels(labels, genres, excerpts, music, truth, logits, ten):
  """Fit the weights of tags, kinds of sound and logits of the ten genres.

  Args:
    labels: All labels, as of `read_labels`.
    genres: Names of the ten genres.
    excerpts: Features of excerpts of GTZAN, float[pieces, FEATURES] each.
    music: Features of free music.
    truth: int[excerpts], numbers of the genres.
    logits: float[excerpts, genres] of layers that were fitted on other artists.
    ten: Layer of the ten genres.

  Returns:
    The layer of all labels.
  """
  means = [np.stack([x.mean(0) for x in group]) for group in (excerpts, music)]
  # Half GTZAN, half free music, so that no label is common in the reference.
  mean = sum(x.mean(0) for x in means) / 2
  deviation = np.sqrt(sum(((x - mean) ** 2).mean(0) for x in means) / 2) + 1e-6
  scores, kernels = {}, {}
  for vocabulary, (first, numbers) in _vocabularies().items():
    kernel = np.zeros((len(mean), len(labels)))
    for column, label in enumerate(labels):
      names = label.names[vocabulary]
      for name in names:
        kernel[first + numbers[name], column] = 1 / len(names)
    kernels[vocabulary] = kernel / deviation[:, None]
    scores[vocabulary] = (means[0] - mean) @ kernels[vocabulary]
  known = {name: c for c, label in enumerate(labels) for name in label.names["gtzan"]}
  target = (truth[:, None] == np.arange(len(genres))).astype(int)
  columns = [known[genre] for genre in genres]
  parts = {name: score[:, columns] for name, score in scores.items()}
  weights: dict[tuple, np.ndarray] = {}
  for label in labels:
    used = tuple(name for name in scores if label.names[name])
    own = [genres.index(name) for name in label.names["gtzan"]]
    if (used, bool(own)) not in weights:
      # Fitted on those of the ten genres that have these vocabularies.
      fit = [i for i, c in enumerate(columns) if all(labels[c].names[name] for name in used)]
      x = [parts[name][:, fit].ravel() for name in used]
      x += [logits[:, fit].ravel()] if own else []
      weights[used, bool(own)] = _binary(np.stack(x, 1), target[:, fit].ravel())
  kernel, bias = np.zeros((len(mean), len(labels))), np.zeros(len(labels))
  for column, label in enumerate(labels):
    used = tuple(name for name in scores if label.names[name])
    own = [genres.index(name) for name in label.names["gtzan"]]
    found = weights[used, bool(own)]
    for name, weight in zip(used, found, strict=False):
      kernel[:, column] += weight * kernels[name][:, column]
      bias[column] -= weight * mean @ kernels[name][:, column]
    bias[column] += found[-1] + (RARE_BIAS if used == ("audioset",) and not own else 0)
    bias[column] += VAGUE_BIAS if label.name in VAGUE else 0
    if own:
      kernel[:, column] += found[-2] * (ten[0][:, own[0]] - ten[0].mean(1))
      bias[column] += found[-2] * (ten[1][own[0]] - ten[1].mean())
  return kernel, bias


def fit_not_music(excerpts, sounds, rows, scale):
  """Fit music against NOT_MUSIC on YAMNet's outputs; return logits relative to music's."""
  kinds = ("music", *KINDS)
  truth = [0] * len(excerpts) + [kinds.index(row["kind"]) for row in rows]
  kernel, bias = _fit(
    [*excerpts, *sounds], np.array(truth), YAMNET, scale, len(kinds), NOT_MUSIC_PENALTY
  )
  return kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[0] - MUSIC_BIAS


def limits_of(labels):
  """Return the limits of the labels, as of `limit_labels`.

  A label without examples is less certain than those of its family that have some, and than its
  parent.
  """
  known = [bool(label.names["gtzan"]) for label in labels]
  limits = []
  for label, has_examples in zip(labels, known, strict=True):
    family = [
      i
      for i, other in enumerate(labels)
      if known[i] and (label.parent in (other.name, other.parent))
    ]
    parent = [i for i, other in enumerate(labels) if other.name == label.parent]
    limits.append(sorted({*family, *parent}) if family and not has_examples else [])
  return limits


def _logistic(x, y, weight, classes, penalty):
  """Fit a multinomial logistic regression; return its kernel and bias."""
  x, target, width = np.float32(x), np.eye(classes)[y], x.shape[1]

  def loss(flat):
    kernel, bias = flat[: width * classes].reshape(width, classes), flat[width * classes :]
    logits = x @ np.float32(kernel) + bias
    log_p = logits - scipy.special.logsumexp(logits, axis=1, keepdims=True)
    gradient = (np.exp(log_p) - target) * weight[:, None]
    value = -(weight[:, None] * target * log_p).sum() + (kernel**2).sum() / 2 / penalty
    both = [(x.T @ np.float32(gradient) + kernel / penalty).ravel(), gradient.sum(0)]
    return value, np.concatenate(both)

  start = np.zeros((width + 1) * classes)
  options = {"maxiter": ITERATIONS}
  flat = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
  return flat[: width * classes].reshape(width, classes), flat[width * classes :]


def _binary(x, y):
  """Return the weights and the bias of a logistic regression without penalty."""

  def loss(weights):
    logits = x @ weights[:-1] + weights[-1]
    gradient = scipy.special.expit(logits) - y
    value = (np.logaddexp(0, logits) - y * logits).mean()
    return value, np.append(x.T @ gradient, gradient.sum()) / len(y)

  return scipy.optimize.minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="BFGS").x


def _vocabularies():
  """Return {vocabulary: (first column of its logits, {name: number})}."""
  tags, sounds = (list(load(PARTS[part]).classes) for part in ("musicnn", "yamnet"))
  return {
    "msd": (PARTS_OF["tags"].start, {name: i for i, name in enumerate(tags)}),
    "audioset": (PARTS_OF["sounds"].start, {name: i for i, name in enumerate(sounds)}),
  }
