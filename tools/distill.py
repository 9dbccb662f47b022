"""Train the layer `student` of axis_features_student on free music.

    python tools/free_recordings.py --out=FOLDER --kind=music
    genre-jax pretrained fetch
    python tools/distill.py --recordings=FOLDER --out=DIR [--examples=FILE]

The layer predicts, from the statistics of `axis_features` of 7.4 s, the embedding that musicnn and
YAMNet compute from the 9 s around them. No label is used. Examples of all recordings take half an
hour on one core; they are stored in FILE every two minutes, so the tool can be interrupted. It
prints how much of the variance is explained in packages that were left out, then trains on all and
writes DIR, which `config.init_from` takes.
"""

import dataclasses
import pathlib
import sys
import time
import zlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from genre_jax import command_line
from genre_jax.data.audio import read_blocks
from genre_jax.data.decoder import UnreadableAudio
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import log_mel_blocks
from genre_jax.errors import UserError
from genre_jax.files import move_into_place
from genre_jax.inference.model import load
from genre_jax.inference.model_dir import write_model
from genre_jax.inference.published import MUSICNN_YAMNET
from genre_jax.models.axis_features import AxisFeatures
from genre_jax.training.augment import equalizer
from tools.distill_fit import Student, fit
from tools.genre_features import FEATURES, PARTS_OF, recordings

RECORDINGS = flags.DEFINE_string("recordings", None, "Folder of recordings.csv.", required=True)
EXAMPLES = flags.DEFINE_string("examples", "distill.npz", "File for examples.")
OUT = flags.DEFINE_string("out", None, "Directory to write.", required=True)

FRONTEND = FrontendConfig(num_frames=96)  # of experiments/base.py
ALL_FRAMES = dataclasses.replace(FRONTEND, frame_stride=1.0)
PIECE, MOST = 9.0, 24  # seconds of a piece of a recording, and most pieces of one
TEACHER_SEGMENTS = 3  # that a piece has
SEGMENTS = 6  # random ones of a piece, for the layer
EQ_DB, EQ_KNOTS = 4.0, 6  # as in experiments/axis_features.py
CLIP = 5.0  # of the standardized embedding
LEFT_OUT = 10  # every tenth package is used to measure, not to train


class Statistics(AxisFeatures):
  """The statistics alone, after a random equalizer."""

  @nn.compact
  def __call__(self, log_mel, key):
    """Return float32[batch, statistics] of float32[batch, time, frequency] in dB."""
    log_mel = equalizer(key, log_mel, EQ_DB, EQ_KNOTS)[..., None]
    return self._statistics(log_mel, jnp.ones(log_mel.shape[:2]))


def examples_of(path: str, teacher, statistics) -> tuple[np.ndarray, np.ndarray]:
  """Return statistics, float16[pieces, SEGMENTS, D], and embeddings, float16[pieces, FEATURES]."""
  rate, hop, teacher_rate = FRONTEND.sample_rate, FRONTEND.hop_length, teacher.frontend.sample_rate
  blocks = list(read_blocks(path, teacher_rate, block_seconds=10.0, notes=[]))
  if sum(map(len, blocks)) < PIECE * teacher_rate:
    return np.zeros((0, SEGMENTS, 0), np.float16), np.zeros((0, FEATURES), np.float16)
  audio = np.concatenate(blocks)
  log_mel = log_mel_blocks(read_blocks(path, rate, block_seconds=10.0, notes=[]), ALL_FRAMES)
  frames, samples = teacher.frontend.num_frames, teacher.frontend.hop_length
  seconds = min(len(log_mel) * hop / rate, len(audio) / teacher_rate) - 0.05
  count = max(1, min(MOST, int(seconds / PIECE)))
  starts = np.maximum((np.arange(count) + 0.5) / count * (seconds - PIECE), 0)
  rng = np.random.default_rng(zlib.crc32(pathlib.Path(path).name.encode()))
  piece_frames = int(PIECE * rate / hop)
  kept = FRONTEND.frame_indices(piece_frames)[: FRONTEND.num_frames]
  xs, pieces, length = [], [], TEACHER_SEGMENTS * frames * samples
  for start in starts:
    first = int(start * teacher_rate)
    pieces.append(audio[first : first + length].reshape(TEACHER_SEGMENTS, frames, samples))
    at = round(start * rate / hop) + rng.integers(0, piece_frames - kept[-1], SEGMENTS)
    key = jax.random.key(rng.integers(2**31))
    xs.append(statistics(log_mel[at[:, None] + kept[None]], key))
  segments = np.concatenate(pieces)
  embedding = teacher.infer(segments, np.full(len(segments), frames))[1]
  return np.float16(xs), np.float16(embedding.reshape(count, TEACHER_SEGMENTS, -1).mean(1))


def all_examples(rows, store: pathlib.Path):
  """Return statistics, embeddings and the package of each piece; computed ones are stored."""
  known = dict(np.load(store)) if store.exists() else {}
  teacher, saved, left_out = load(MUSICNN_YAMNET), time.monotonic(), []
  module = Statistics(num_classes=1)
  statistics = jax.jit(lambda log_mel, key: module.apply({}, log_mel, key))
  for number, row in enumerate(rows):
    name = row["path"]
    if f"x {name}" not in known:
      print(f"{number + 1} of {len(rows)}: {name}", file=sys.stderr)
      try:
        known[f"x {name}"], known[f"y {name}"] = examples_of(name, teacher, statistics)
      except UnreadableAudio as error:
        left_out.append(f"{name}: {error.reason}")
        continue
      if time.monotonic() - saved > 120:
        _save(store, known)
        saved = time.monotonic()
  _save(store, known)
  print("\n".join([f"{len(left_out)} recordings left out", *left_out]), file=sys.stderr)
  used = [row for row in rows if len(known.get(f"x {row['path']}", ()))]
  if not used:
    raise UserError(f"--recordings={RECORDINGS.value}: no recording of {PIECE:g} s or more")
  x = np.concatenate([known[f"x {row['path']}"] for row in used])
  y = np.concatenate([known[f"y {row['path']}"] for row in used])
  counts = [len(known[f"x {row['path']}"]) for row in used]
  return x, y, np.repeat([row["package"] for row in used], counts)


def _save(store, known):
  """Write all examples to a new file, then move it to its place."""
  new = store.with_name(store.name + ".tmp")
  with open(new, "wb") as file:
    np.savez(file, allow_pickle=False, **known)
  move_into_place(new, store)


def main(argv: list[str]) -> None:
  """Compute examples, measure, train and write."""
  if len(argv) > 1:
    raise UserError(f"unexpected argument {argv[1]!r}: flags begin with --")
  out = pathlib.Path(OUT.value)
  if out.exists() or not out.parent.is_dir():
    raise UserError(f"--out={out}: give a new folder in one that exists")
  rows = [row for row in recordings(pathlib.Path(RECORDINGS.value)) if row["kind"] == "music"]
  x, y, package = all_examples(rows, pathlib.Path(EXAMPLES.value))
  y = np.float32(y)
  y = np.clip((y - y.mean(0)) / (y.std(0) + 1e-2), -CLIP, CLIP)
  names = np.random.default_rng(0).permutation(np.unique(package))
  if len(names) < 2:
    raise UserError(f"--recordings={RECORDINGS.value}: recordings of two packages are needed")
  left_out = np.isin(package, names[: max(1, len(names) // LEFT_OUT)])
  network, variables = fit(x[~left_out], y[~left_out])
  found = network.apply(variables, jnp.asarray(x[left_out, 0], jnp.float32))
  print(f"{(~left_out).sum()} pieces; explained variance of {left_out.sum()} pieces left out:")
  for name, part in PARTS_OF.items():
    rest = np.square(found[:, part] - y[left_out, part]).sum()
    print(
      f"  {name:16} {1 - rest / np.square(y[left_out, part] - y[left_out, part].mean(0)).sum():.2f}"
    )
  kernel, bias = Student.folded(fit(x, y)[1])
  write_model(
    out,
    {
      "name": "student",
      "model": {"name": "axis_features_student"},
      "frontend": FRONTEND.to_dict(),
      "classes": [],
      "provenance": {
        "source": "tools/distill.py",
        "trained_on": f"{len(x)} pieces of {PIECE:g} s of free recordings of Debian packages",
        "license": "Apache-2.0",
        "citation": "see musicnn and YAMNet, whose embeddings it predicts",
      },
    },
    {"params/student/kernel": kernel, "params/student/bias": bias},
  )
  print(f"written to {out}")


if __name__ == "__main__":
  command_line.run(main)
