"""Compute musicnn's features of GTZAN's excerpts, for `transfer.py`."""

import hashlib
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import soxr

from genre_jax.data.audio import read_audio
from genre_jax.data.files import file_stamps
from genre_jax.data.log_mel import log_mel
from genre_jax.data.pipeline import segment_starts
from genre_jax.data.sources.gtzan.folder import find_files
from genre_jax.data.sources.gtzan.tracks import artists, published_lists
from genre_jax.inference.track_log_mel import stack_segments

# Each clip unchanged, 6 dB down and up, and 6 % slower and faster: (gain, speed).
CHANGES = ((1.0, 1.0), (0.5, 1.0), (2.0, 1.0), (1.0, 0.94), (1.0, 1.06))
FIRST_LAYERS = (
  "timbral_0_norm",
  "timbral_1_norm",
  "temporal_0_norm",
  "temporal_1_norm",
  "temporal_2_norm",
)
BATCH = 16


class Clips:
  """The excerpts of the train and validation lists.

  Attributes:
    names: names of the clips, LABEL.NUMBER.
    genres: labels that occur, sorted.
    labels: int[clips], indices into `genres`.
    groups: artist of each clip.
    train: indices of the train list's clips.
    validation: indices of the validation list's clips.
    paths: files.
    seconds: lengths.
  """

  def __init__(self, folder):
    files, lists = find_files(folder)[0], published_lists()
    self.names = sorted(name for name in files if lists.get(name) in ("train", "validation"))
    self.genres = sorted({name.split(".")[0] for name in self.names})
    self.labels = np.array([self.genres.index(name.split(".")[0]) for name in self.names])
    self.groups = np.array([artists().get(name, name) for name in self.names])
    self.train = np.flatnonzero([lists[name] == "train" for name in self.names])
    self.validation = np.flatnonzero([lists[name] == "validation" for name in self.names])
    self.paths = [files[name] for name in self.names]
    self.seconds = np.array([len(read_audio(path, 8000)) / 8000 for path in self.paths])

  def balance(self, rows):
    """Return float[rows] with mean 1, weights inverse to the frequency of each clip's label."""
    weight = 1 / np.bincount(self.labels[rows], minlength=len(self.genres))[self.labels[rows]]
    return weight / weight.mean()


def overlapping_segments(model, samples):
  """Return half-overlapping segments, float32[n, frames, bands], and their frames, int[n]."""
  frames, length = log_mel(samples, model.frontend), model.frontend.num_frames
  count = max(1, round(2 * (len(frames) - length) / length) + 1)
  return stack_segments(
    [frames[start : start + length] for start in segment_starts(len(frames), length, count)], length
  )


def cache_path(model, clips, folder) -> pathlib.Path:
  """Return the cache file for these clips, weights, front end and changes."""
  weights = hashlib.sha256()
  for leaf in jax.tree.leaves(model.variables):
    weights.update(np.asarray(leaf).tobytes())
  key = json.dumps(
    [
      file_stamps(zip(clips.names, clips.paths, strict=True)),
      weights.hexdigest(),
      model.frontend.to_dict(),
      CHANGES,
      FIRST_LAYERS,
      "maximum over bands by two ends",
    ]
  )
  return pathlib.Path(folder) / f"{model.name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npz"


def cached_activations(model, clips, folder):
  """Compute the first layers' activations of every clip under every change, or read the cache.

  Args:
    model: musicnn, a loaded model.
    clips: the excerpts.
    folder: folder of the cache.

  Returns:
    float16[segments, frames, features], and int[segments] each of valid frames, clip and change.
  """
  path = cache_path(model, clips, folder)
  if path.exists():
    cached = np.load(path)
    return tuple(cached[name] for name in ("front", "counts", "clip", "change"))

  @jax.jit
  def front(x, counts):
    _, outputs = model.network.apply(
      model.variables,
      x[..., None],
      jnp.arange(x.shape[1])[None] < counts[:, None],
      mutable=["intermediates"],
      capture_intermediates=lambda module, _: module.name in FIRST_LAYERS,
    )
    outputs = outputs["intermediates"]
    # Normalized once for the maximum over bands and once for the minimum, of which one is higher.
    return jnp.concatenate([jnp.maximum(*outputs[name]["__call__"]) for name in FIRST_LAYERS], -1)

  rate, rows = model.frontend.sample_rate, []
  for clip, file in enumerate(clips.paths):
    samples = read_audio(file, rate)
    for change, (gain, speed) in enumerate(CHANGES):
      x, counts = overlapping_segments(model, gain * soxr.resample(samples, rate * speed, rate))
      rows += [(row, count, clip, change) for row, count in zip(x, counts, strict=True)]
  x, counts, clip, change = map(np.array, zip(*rows, strict=True))
  print(f"{len(x)} segments of {len(clips.paths)} clips", flush=True)
  out = []
  for at in range(0, len(x), BATCH):
    some = np.minimum(np.arange(at, at + BATCH), len(x) - 1)
    out.append(np.asarray(front(x[some], counts[some]), np.float16)[: len(x) - at])
  result = np.concatenate(out), counts, clip, change
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_suffix(".part.npz")  # an interrupted run must not leave a partial cache
  np.savez(part, **dict(zip(("front", "counts", "clip", "change"), result, strict=True)))
  part.replace(path)
  return result


def upper_layers(params, stats, x, counts, rng=None, rate=0.5):
  """Apply musicnn's layers above the first, as in `models/musicnn.py`, with fixed statistics.

  Args:
    params: parameters of these layers.
    stats: running statistics of the network.
    x: activations of the first layers, float[n, frames, features].
    counts: valid frames, int[n].
    rng: key of the dropout; None for inference.
    rate: dropout rate.

  Returns:
    float32[n, 200], the penultimate layer, and float32[n, 128], the pooled last convolution.
  """

  def norm(x, name):
    scale = params[name]["scale"] * jax.lax.rsqrt(stats[name]["var"] + 1e-3)
    return (x - stats[name]["mean"]) * scale + params[name]["bias"]

  def drop(x, key):
    if rng is None:
      return x
    keep = jax.random.bernoulli(jax.random.fold_in(rng, key), 1 - rate, x.shape)
    return x * keep / (1 - rate)

  mask = (jnp.arange(x.shape[1])[None] < counts[:, None])[..., None]
  x = jnp.where(mask, x.astype(jnp.float32), 0)
  layers, residual = [x], None
  for i in range(3):
    layer = params[f"mid_{i}"]
    x = (
      jax.lax.conv_general_dilated(
        x, layer["kernel"], (1,), "SAME", dimension_numbers=("NHC", "HIO", "NHC")
      )
      + layer["bias"]
    )
    x = norm(jax.nn.relu(x), f"mid_{i}_norm")
    x = jnp.where(mask, x if residual is None else x + residual, 0)
    layers.append(x)
    residual = x
  x = jnp.concatenate(layers, -1)
  pooled = jnp.stack([jnp.where(mask, x, -jnp.inf).max(1), x.sum(1) / mask.sum(1)], -1)
  last = pooled[:, -residual.shape[-1] :].reshape(len(x), -1)
  x = drop(norm(pooled.reshape(len(x), -1), "pooled_norm"), 0)
  x = jax.nn.relu(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
  return norm(x, "hidden_norm"), last


def clip_mean(values, clip, count):
  """Return float[count, ...], means over the rows of each clip."""
  total = np.zeros((count, values.shape[1]))
  np.add.at(total, clip, values)
  return total / np.bincount(clip, minlength=count)[:, None]


def in_batches(function, x, counts):
  """Return the result of `function` on all rows, computed in batches."""
  out = []
  for at in range(0, len(x), 64):
    some = np.minimum(np.arange(at, at + 64), len(x) - 1)
    out.append(np.asarray(function(x[some], counts[some]))[: len(x) - at])
  return np.concatenate(out)


def features_of(model):
  """Return a function of (body, x, counts, rng) that computes float32[n, 378].

  The features are the penultimate layer, the last convolution and the tags. `body` has the
  parameters of the layers above the first.
  """
  params, stats = model.variables["params"], model.variables["batch_stats"]

  def features(body, x, counts, rng=None):
    hidden, last = upper_layers(body, stats, x, counts, rng)
    tags = jax.nn.sigmoid(hidden @ params["logits"]["kernel"] + params["logits"]["bias"])
    return jnp.concatenate([hidden, last, tags], -1)

  return features
