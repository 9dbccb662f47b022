"""Compute the features of musicnn and YAMNet on which the default model's layer is trained."""

import csv
import itertools
import sys
import time

import numpy as np
import soxr

from genre_jax.data.audio import read_blocks
from genre_jax.data.sources.gtzan.folder import find_files
from genre_jax.data.sources.gtzan.tracks import artists, published_lists
from genre_jax.inference import published_weights
from genre_jax.inference.model import Model, load
from genre_jax.inference.published import PARTS
from genre_jax.models.musicnn_yamnet import FRONTEND, MusicnnYamnet

# Columns of the features, which are the network's 'embedding'.
PARTS_OF = {
  "convolution": slice(0, 128),
  "embedding": slice(128, 328),
  "tags": slice(328, 378),
  "sound_embedding": slice(378, 1402),
  "sounds": slice(1402, 1923),
}
FEATURES = 1923
PIECES, LONGEST = 3, 100.0  # pieces of a recording, and seconds from its start that are read
NOISES = {"white": 0, "pink": 1, "brown": 2, "blue": -1, "violet": -2}  # exponent of the power


def gtzan_clips(folder):
  """Return (path, genre, artist, split) of the excerpts of the train and validation lists."""
  files, lists, by_artist = find_files(folder)[0], published_lists(), artists()
  return [
    (str(files[name]), name.split(".")[0], str(by_artist.get(name, name)), lists[name])
    for name in sorted(files)
    if lists.get(name) in ("train", "validation")
  ]


def recordings(folder):
  """Return the rows of recordings.csv, and one for each noise."""
  with open(folder / "recordings.csv", encoding="utf-8", newline="") as file:
    rows = [{**row, "path": str(folder / row["file"])} for row in csv.DictReader(file)]
  for color in NOISES:
    for number in range(12):
      rows.append({"path": f"{color} {number}", "kind": "noise", "package": color, "labels": ""})
  return rows


class Features:
  """Features of pieces of 3 s, float32[pieces, FEATURES] for each recording, kept in a file."""

  def __init__(self, path):
    self._path, self._network = path, _network()
    self._known = dict(np.load(path)) if path.exists() else {}
    self._saved = time.monotonic()

  def save(self):
    np.savez(self._path, allow_pickle=False, **self._known)
    self._saved = time.monotonic()

  def all_of(self, path, speed):
    """Return the features of adjacent pieces of a recording at another speed."""
    return self._get(f"{path}|{speed}", path, speed, 0)

  def some_of(self, path):
    """Return the features of at most PIECES pieces, spread over the first LONGEST seconds."""
    return self._get(f"{path}|{PIECES} pieces", path, 1.0, PIECES)

  def _get(self, key, path, speed, most):
    if key not in self._known:
      print(f"features of {key}", file=sys.stderr)
      self._known[key] = self._compute(path, speed, most)
      if time.monotonic() - self._saved > 60:
        self.save()
    return self._known[key]

  def _compute(self, path, speed, most):
    rate, length = FRONTEND.sample_rate, FRONTEND.num_frames * FRONTEND.hop_length
    audio = _noise(*path.split()) if path.split()[0] in NOISES else _read(path, rate, most)
    if speed != 1:
      audio = soxr.resample(audio, rate * speed, rate)
    count = max(1, len(audio) // length)
    rest = max(0, len(audio) - length)
    starts = np.linspace(0, rest, count)
    if most and count > 1:
      # The beginning and the end of a song are often silent.
      count = min(count, most)
      starts = (np.arange(count) + 0.5) / count * rest
    frames = np.zeros((count, FRONTEND.num_frames, FRONTEND.hop_length), np.float32)
    lengths = []
    for row, start in zip(frames, starts.astype(int), strict=True):
      piece = audio[start : start + length]
      lengths.append(len(piece) // FRONTEND.hop_length)
      row[: lengths[-1]] = piece[: lengths[-1] * FRONTEND.hop_length].reshape(lengths[-1], -1)
    return self._network.infer(frames, np.array(lengths))[1]


def _network():
  """Return the two fetched models with a layer that is not used."""
  head = {"kernel": np.zeros((FEATURES, 1), np.float32), "bias": np.zeros(1, np.float32)}
  variables = {"params": {"head": head}, "batch_stats": {}}
  for part, name in PARTS.items():
    published_weights.fetch(name)
    for collection, values in load(name).variables.items():
      variables[collection][part] = values
  network = MusicnnYamnet(num_classes=1)
  return Model("head", network, variables, FRONTEND, ("x",), "multi_label", 1.0, (0.5,), 0, {})


def _read(path, rate, most):
  blocks = read_blocks(path, rate, block_seconds=10.0, notes=[])
  return np.concatenate(list(itertools.islice(blocks, int(LONGEST / 10) if most else None)))


def _noise(color, number):
  """Return 10 s of noise at a random level."""
  rng = np.random.default_rng([int(number), list(NOISES).index(color)])
  count = 10 * FRONTEND.sample_rate
  frequencies = np.fft.rfftfreq(count, 1 / FRONTEND.sample_rate)
  frequencies[0] = frequencies[1]
  spectrum = np.fft.rfft(rng.standard_normal(count)) * frequencies ** (-NOISES[color] / 2)
  noise = np.fft.irfft(spectrum, count)
  level = 10 ** (rng.uniform(-40, -12) / 20)
  return np.clip(noise * level / noise.std(), -1, 1).astype(np.float32)
