"""Compare excerpts with whole files: `python -m benchmarks.excerpts --songs=FOLDER`.

Prints, for several numbers of excerpts of `predict --excerpts=N`, the share of songs whose most
probable label and whose written labels are those of the whole file, and the speed relative to the
whole file, on one core. The songs are those of benchmarks/songs.py or your own.
"""

import os
import pathlib
import time

import numpy as np
from absl import flags
from tqdm import tqdm

from genre_jax import command_line
from genre_jax.inference import load, predict

SONGS = flags.DEFINE_string("songs", None, "Folder of music files.")
MODEL = flags.DEFINE_string("model", "musicnn_yamnet", "Model, as --model of predict.")
COUNT = flags.DEFINE_integer("count", 150, "Number of songs, evenly spaced.", lower_bound=1)
EXCERPTS = flags.DEFINE_multi_integer("excerpts", [1, 2, 3, 5], "Numbers of excerpts.")


def main(_):
  """Predict each song whole and by excerpts, and print a table."""
  os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
  paths = sorted(path for path in pathlib.Path(SONGS.value).iterdir() if path.is_file())
  paths = paths[:: max(1, len(paths) // COUNT.value)][: COUNT.value]
  model, kinds = load(MODEL.value), (0, *EXCERPTS.value)
  list(predict(paths[0], model))  # compiles
  labels: dict[int, list[tuple[str, str]]] = {kind: [] for kind in kinds}
  seconds: dict[int, list[float]] = {kind: [] for kind in kinds}
  for path in tqdm(paths, disable=None):
    for kind in kinds:
      begun = time.perf_counter()
      (one,) = predict(path, model, excerpts=kind)
      seconds[kind].append(time.perf_counter() - begun)
      assert one.status == "ok", one
      labels[kind].append((max(one.probabilities, key=one.probabilities.__getitem__), one.genre))
  print(f"{len(paths)} songs, {model.name}\n")
  print("| excerpts of 30 s | same first label | same labels | time of whole file / time |")
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
