"""How quick live answers are: `python -m benchmarks.stream --model=NAME|DIR --path=DIR`.

Prints tables in Markdown. Speed: an hour of real clips through a Listener on one core, in blocks of
100 ms. Delay: medleys of real clips with known change points, for several windows and smoothings;
asked are the clips that the offline path gets right. DIR is a folder of GENRE/FILE; of GTZAN only
the clips of the validation list count, which the shipped models have not seen.
"""

import os
import pathlib
import resource
import time

import numpy as np
from absl import app, flags

from genre_jax.data.audio import read_audio
from genre_jax.data.splits import published_lists
from genre_jax.inference import load, predict
from genre_jax.inference.streaming import Listener

MODEL = flags.DEFINE_string("model", "axis_features_10", "As for the commands.")
PATH = flags.DEFINE_string("path", "../shared/gtzan/audio", "Folder of real audio.")
EVERY_CLIP = flags.DEFINE_bool("every_clip", False, "Also clips outside the validation list.")
HOURS = flags.DEFINE_float("hours", 1.0, "Sound for the speed; 0 leaves it out.")
MEDLEYS = flags.DEFINE_integer("medleys", 200, "Changes for the delay; 0 leaves it out.")
WINDOWS = flags.DEFINE_list("windows", ["2", "3", "5", "7.4"], "Seconds.")
SMOOTHINGS = flags.DEFINE_list("smoothings", ["0", "0.5", "1", "2", "4"], "Seconds.")
SEED = flags.DEFINE_integer("seed", 0, "Of the order of clips.")

BLOCK_SECONDS = 0.1
PIECE_SECONDS = 12.0  # of a clip before and after a change; shorter clips are left out


def clips(folder, model):
  """{path: genre} of the clips that may be asked, long enough, of genres that the model knows."""
  splits = published_lists()
  paths = [
    path
    for path in sorted(pathlib.Path(folder).glob("*/*"))
    if path.parent.name in model.classes
    and (EVERY_CLIP.value or splits.get(path.stem) == "validation")
  ]
  return {
    str(prediction.path): pathlib.Path(prediction.path).parent.name
    for prediction in predict(paths, model)
    if prediction.status == "ok"
    and prediction.seconds >= PIECE_SECONDS
    and prediction.genre == pathlib.Path(prediction.path).parent.name
  }


def megabytes():
  """Resident memory now."""
  pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
  return pages * resource.getpagesize() / 1e6


def speed(model, sounds, hours):
  """Times of every push over hours of sound."""
  rate = model.frontend.sample_rate
  size = int(BLOCK_SECONDS * rate)
  listener = Listener(model)
  loop = np.concatenate(sounds)
  loop = loop[: len(loop) // size * size]
  for at in range(0, min(len(loop), 20 * rate), size):  # compiles
    listener.push(loop[at : at + size])
  times, memory, updates = [], [], 0
  for number in range(int(hours * 3600 / BLOCK_SECONDS)):
    at = number * size % len(loop)
    begun = time.perf_counter()
    updates += len(listener.push(loop[at : at + size]))
    times.append(time.perf_counter() - begun)
    if number % int(600 / BLOCK_SECONDS) == 0:
      memory.append(megabytes())
  times = np.array(times) * 1e3
  print(
    "\n| sound | block | p50 ms | p99 ms | worst ms | real-time factor | answers |"
    "\n|---|---|---|---|---|---|---|"
  )
  print(
    f"| {hours:g} h | {1000 * BLOCK_SECONDS:g} ms | {np.median(times):.2f} "
    f"| {np.percentile(times, 99):.2f} | {times.max():.2f} "
    f"| {times.sum() / 1e3 / (hours * 3600):.5f} | {updates:,} |"
  )
  print(
    "\nmemory in MB, every ten minutes of sound: " + ", ".join(f"{value:.1f}" for value in memory)
  )


def delay(model, sounds, genres, window, smoothing, count, rng):
  """(delays in s, infinite where the right answer never came; share right; false changes a min)."""
  length = int(PIECE_SECONDS * model.frontend.sample_rate)
  delays, right, total, flickers = [], 0, 0, 0
  for _ in range(count):
    first, second = rng.permutation(len(sounds))[:2]
    while genres[first] == genres[second]:
      first, second = rng.permutation(len(sounds))[:2]
    listener = Listener(model, window_seconds=window, smoothing_seconds=smoothing)
    medley = np.concatenate([sounds[first][-length:], sounds[second][:length]])
    after = [
      update
      for update in listener.push(medley) + listener.flush()
      if update.seconds > PIECE_SECONDS
    ]
    heard = [update.genre == genres[second] for update in after]
    delays.append(after[heard.index(True)].seconds - PIECE_SECONDS if any(heard) else np.inf)
    changes = sum(a.genre != b.genre for a, b in zip(after, after[1:], strict=False))
    flickers += max(0, changes - 1)
    right += sum(heard)
    total += len(heard)
  return np.array(delays), right / total, flickers / (count * PIECE_SECONDS / 60)


def main(_):
  """Prints what is asked for."""
  os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
  model = load(MODEL.value)
  found = clips(PATH.value, model)
  sounds = [read_audio(path, model.frontend.sample_rate) for path in found]
  genres = list(found.values())
  print(
    f"{model.name}, {len(found)} clips of {len(set(genres))} genres that the offline path gets"
    f" right; load {os.getloadavg()[0]:.1f}"
  )
  if HOURS.value:
    speed(model, sounds, HOURS.value)
  if not MEDLEYS.value:
    return
  print(
    "\n| window s | smoothing s | median s to the right answer | within 3 s % | never % "
    "| answers right after a change % | needless changes a minute |\n" + "|---" * 7 + "|"
  )
  for window in WINDOWS.value:
    for smoothing in SMOOTHINGS.value:
      delays, right, flickers = delay(
        model,
        sounds,
        genres,
        float(window),
        float(smoothing),
        MEDLEYS.value,
        np.random.default_rng(SEED.value),
      )
      print(
        f"| {window} | {smoothing} | {np.median(delays):.2f} "
        f"| {100 * (delays <= 3).mean():.0f} | {100 * np.isinf(delays).mean():.0f} "
        f"| {100 * right:.0f} | {flickers:.1f} |",
        flush=True,
      )


if __name__ == "__main__":
  app.run(main)
