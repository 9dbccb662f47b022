"""What musicnn hears of GTZAN's excerpts, for `transfer.py`: clips, front-end and back-end."""

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
from genre_jax.data.sources.gtzan.tracks import artists
from genre_jax.data.splits import published_lists
from genre_jax.inference.spectra import stack_windows

# Each clip as it is, 6 dB down and up, and 6 % slower and faster: (gain, speed).
CHANGES = ((1.0, 1.0), (0.5, 1.0), (2.0, 1.0), (1.0, 0.94), (1.0, 1.06))
FRONT = (
  "timbral_0_norm",
  "timbral_1_norm",
  "temporal_0_norm",
  "temporal_1_norm",
  "temporal_2_norm",
)
BATCH = 16


class Clips:
  """The excerpts: names, labels, artists, lengths, and which are of which list."""

  def __init__(self, folder):
    files, lists = find_files(folder)[0], published_lists()
    self.names = sorted(name for name in files if lists.get(name) in ("train", "validation"))
    self.genres = sorted({name.split(".")[0] for name in self.names})
    self.labels = np.array([self.genres.index(name.split(".")[0]) for name in self.names])
    self.groups = np.array([artists().get(name, name) for name in self.names])
    self.train = np.flatnonzero([lists[name] == "train" for name in self.names])
    self.valid = np.flatnonzero([lists[name] == "validation" for name in self.names])
    self.paths = [files[name] for name in self.names]
    self.seconds = np.array([len(read_audio(path, 8000)) / 8000 for path in self.paths])

  def balance(self, rows):
    """float[rows], mean 1: clips of rare genres count more."""
    weight = 1 / np.bincount(self.labels[rows], minlength=len(self.genres))[self.labels[rows]]
    return weight / weight.mean()


def patches(model, samples):
  """Half-overlapping windows of a clip: float32[n, frames, bands] and int[n]."""
  frames, length = log_mel(samples, model.frontend), model.frontend.num_frames
  count = max(1, round(2 * (len(frames) - length) / length) + 1)
  return stack_windows(
    [frames[start : start + length] for start in segment_starts(len(frames), length, count)], length
  )


def place_of(model, clips, folder) -> pathlib.Path:
  """Where `hear` keeps what it heard: another file for other clips, weights, recipe or changes."""
  weights = hashlib.sha256()
  for leaf in jax.tree.leaves(model.variables):
    weights.update(np.asarray(leaf).tobytes())
  key = json.dumps(
    [
      file_stamps(zip(clips.names, clips.paths, strict=True)),
      weights.hexdigest(),
      model.frontend.to_dict(),
      CHANGES,
      FRONT,
    ]
  )
  return pathlib.Path(folder) / f"{model.name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npz"


def hear(model, clips, folder):
  """What the front-end hears of every clip under every change; kept in `folder`.

  Returns:
    float16[patches, frames, features], int[patches] valid frames, clip and change of each.
  """
  place = place_of(model, clips, folder)
  if place.exists():
    kept = np.load(place)
    return tuple(kept[name] for name in ("front", "counts", "clip", "change"))

  @jax.jit
  def front(x, counts):
    _, seen = model.network.apply(
      model.variables,
      x[..., None],
      jnp.arange(x.shape[1])[None] < counts[:, None],
      mutable=["intermediates"],
      capture_intermediates=lambda module, _: module.name in FRONT,
    )
    seen = seen["intermediates"]
    return jnp.concatenate([seen[name]["__call__"][0].max(2) for name in FRONT], -1)

  rate, rows = model.frontend.sample_rate, []
  for clip, path in enumerate(clips.paths):
    samples = read_audio(path, rate)
    for change, (gain, speed) in enumerate(CHANGES):
      x, counts = patches(model, gain * soxr.resample(samples, rate * speed, rate))
      rows += [(row, count, clip, change) for row, count in zip(x, counts, strict=True)]
  x, counts, clip, change = map(np.array, zip(*rows, strict=True))
  print(f"{len(x)} patches of {len(clips.paths)} clips", flush=True)
  out = []
  for at in range(0, len(x), BATCH):
    some = np.minimum(np.arange(at, at + BATCH), len(x) - 1)
    out.append(np.asarray(front(x[some], counts[some]), np.float16)[: len(x) - at])
  result = np.concatenate(out), counts, clip, change
  place.parent.mkdir(parents=True, exist_ok=True)
  part = place.with_suffix(".part.npz")  # an interrupted run leaves nothing that looks whole
  np.savez(part, **dict(zip(("front", "counts", "clip", "change"), result, strict=True)))
  part.replace(place)
  return result


def back_end(params, stats, x, counts, rng=None, rate=0.5):
  """musicnn behind its front-end, as `models/musicnn.py` has it, with its statistics fixed.

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
  """float[count, ...]: means over the rows of each clip."""
  total = np.zeros((count, values.shape[1]))
  np.add.at(total, clip, values)
  return total / np.bincount(clip, minlength=count)[:, None]


def in_batches(function, x, counts):
  """`function` of all rows, some at a time."""
  out = []
  for at in range(0, len(x), 64):
    some = np.minimum(np.arange(at, at + 64), len(x) - 1)
    out.append(np.asarray(function(x[some], counts[some]))[: len(x) - at])
  return np.concatenate(out)


def features_of(model):
  """A function of (body, x, counts, rng): the penultimate layer, the last convolution and the tags.

  Its result is float32[n, 378]; `body` has the parameters of the layers behind the front-end.
  """
  params, stats = model.variables["params"], model.variables["batch_stats"]

  def features(body, x, counts, rng=None):
    hidden, last = back_end(body, stats, x, counts, rng)
    tags = jax.nn.sigmoid(hidden @ params["logits"]["kernel"] + params["logits"]["bias"])
    return jnp.concatenate([hidden, last, tags], -1)

  return features
