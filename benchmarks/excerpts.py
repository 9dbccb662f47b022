"""Compare excerpts with whole files: `python -m benchmarks.excerpts --songs=FOLDER`.

Prints, for several numbers of excerpts of `predict --excerpts=N`, the share of songs whose most
probable label and whose written labels are those of the whole file, and the speed relative to the
whole file, on one core. The songs are those of benchmarks/songs.py or your own.
"""

import os
import time

import numpy as np
from absl import flags
from tqdm import tqdm

from genre_jax import command_line
from genre_jax.errors import UserError
from genre_jax.inference import load, predict
from genre_jax.inference.predict_files import find_files

SONGS = flags.DEFINE_string("songs", None, "Folder of music files.")
MODEL = flags.DEFINE_string("model", "musicnn_yamnet", "Model, as --model of predict.")
COUNT = flags.DEFINE_integer("count", 150, "Number of songs, evenly spaced.", lower_bound=1)
EXCERPTS = flags.DEFINE_multi_integer("excerpts", [1, 2, 3, 5], "Numbers of excerpts.")


def main(_):
  """Predict each song whole and by excerpts, and print a table."""
  os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
  paths = [path for path, fault in find_files([SONGS.value]) if not fault]
  if not paths:
    raise UserError(f"--songs={SONGS.value}: no music files")
  chosen = np.linspace(0, len(paths) - 1, min(COUNT.value, len(paths))).astype(int)
  paths = [paths[number] for number in chosen]
  model, kinds, failed = load(MODEL.value), (0, *EXCERPTS.value), 0
  list(predict(paths[0], model))  # compiles
  labels: dict[int, list[tuple[str, str]]] = {kind: [] for kind in kinds}
  seconds: dict[int, list[float]] = {kind: [] for kind in kinds}
  for path in tqdm(paths, disable=None):
    found, times = [], []
    for kind in kinds:
      begun = time.perf_counter()
      found += predict(path, model, excerpts=kind)
      times.append(time.perf_counter() - begun)
    if any(one.status != "ok" for one in found):
      failed += 1
      continue
    for kind, one, took in zip(kinds, found, times, strict=True):
      seconds[kind].append(took)
      labels[kind].append((max(one.probabilities, key=one.probabilities.__getitem__), one.genre))
  print(f"{len(labels[0])} songs, {failed} failed, {model.name}\n")
  if not labels[0]:
    return
  print("| excerpts of 30 s | same most probable label | same printed labels | times as fast |")
  print("|---|---|---|---|")
  for kind in EXCERPTS.value:
    same = np.array(
      [
        [a == b for a, b in zip(whole, some, strict=True)]
        for whole, some in zip(labels[0], labels[kind], strict=True)
      ]
    )
    low, middle, high = np.percentile(np.divide(seconds[0], seconds[kind]), (25, 50, 75))
    first, written = 100 * same.mean(0)
    print(f"| {kind} | {first:.1f} % | {written:.1f} % | {middle:.2f} [{low:.2f}, {high:.2f}] |")
  print(f"\nA whole file takes {np.median(seconds[0]):.2f} s.")


if __name__ == "__main__":
  flags.mark_flags_as_required(["songs"])
  command_line.run(main)
