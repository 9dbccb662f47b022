"""Measure streaming predictions: `python -m benchmarks.stream --model=NAME|DIR --data=DIR`.

Prints tables in Markdown. Speed: an hour of real clips through a `StreamingClassifier` on one core,
in blocks of 100 ms. Delay: medleys of real clips with known change points, for several window
lengths and smoothings; only clips that `predict` classifies correctly are used. DIR is a folder of
GENRE/FILE. Of GTZAN only clips of the validation list are used, on which the packaged models were
not trained.
"""

import os
import pathlib
import time

import numpy as np
from absl import flags

from benchmarks.process_memory import own_memory
from genre_jax import command_line
from genre_jax.data.audio import read_audio
from genre_jax.data.sources.gtzan.tracks import published_lists
from genre_jax.inference import load, predict
from genre_jax.inference.streaming import StreamingClassifier
from genre_jax.studies.corpora import find_corpus

MODEL = flags.DEFINE_string("model", "axis_features_10", "Model, as --model of predict.")
DATA = flags.DEFINE_string("data", "", "Folder of gtzan; default: that in GENRE_JAX_DATA.")
EVERY_CLIP = flags.DEFINE_bool("every_clip", False, "Use also clips outside the validation list.")
HOURS = flags.DEFINE_float("hours", 1.0, "Hours of audio for the speed; 0 skips it.")
MEDLEYS = flags.DEFINE_integer("medleys", 200, "Number of label changes for the delay; 0 skips it.")
WINDOWS = flags.DEFINE_list("windows", ["2", "3", "5", "7.4"], "Seconds.")
SMOOTHINGS = flags.DEFINE_list("smoothings", ["0", "0.5", "1", "2", "4"], "Seconds.")
SEED = flags.DEFINE_integer("seed", 0, "Seed of the order of clips.")

BLOCK_SECONDS = 0.1
PIECE_SECONDS = 12.0  # of a clip before and after a change; shorter clips are skipped


def clips(folder, model):
  """Return {path: label} of the clips of sufficient length that `predict` classifies correctly."""
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


def measure_speed(model, sounds, hours):
  """Time each push over hours of audio, and print a table."""
  rate = model.frontend.sample_rate
  size = int(BLOCK_SECONDS * rate)
  listener = StreamingClassifier(model)
  loop = np.concatenate(sounds)
  loop = loop[: len(loop) // size * size]
  for at in range(0, min(len(loop), 20 * rate), size):  # compile
    listener.push(loop[at : at + size])
  times, memory, updates = [], [], 0
  for number in range(int(hours * 3600 / BLOCK_SECONDS)):
    at = number * size % len(loop)
    begun = time.perf_counter()
    updates += len(listener.push(loop[at : at + size]))
    times.append(time.perf_counter() - begun)
    if number % int(600 / BLOCK_SECONDS) == 0:
      memory.append(own_memory() / 1e6)
  times = np.array(times) * 1e3
  print(
    "\n| audio | block | p50 ms | p99 ms | worst ms | real-time factor | predictions |"
    "\n|---|---|---|---|---|---|---|"
  )
  print(
    f"| {hours:g} h | {1000 * BLOCK_SECONDS:g} ms | {np.median(times):.2f} "
    f"| {np.percentile(times, 99):.2f} | {times.max():.2f} "
    f"| {times.sum() / 1e3 / (hours * 3600):.5f} | {updates:,} |"
  )
  print(
    "\nmemory in MB, every ten minutes of audio: " + ", ".join(f"{value:.1f}" for value in memory)
  )


def measure_delay(model, sounds, genres, window, smoothing, count, rng):
  """Measure the delay after a change of label, on medleys of two clips.

  Returns:
    Delays in s, infinite if the correct label never comes; share of correct predictions after the
    change; needless changes per minute.
  """
  length = int(PIECE_SECONDS * model.frontend.sample_rate)
  delays, num_correct, total, flickers = [], 0, 0, 0
  for _ in range(count):
    first, second = rng.permutation(len(sounds))[:2]
    while genres[first] == genres[second]:
      first, second = rng.permutation(len(sounds))[:2]
    listener = StreamingClassifier(model, segment_seconds=window, smoothing_seconds=smoothing)
    medley = np.concatenate([sounds[first][-length:], sounds[second][:length]])
    after = [
      update
      for update in listener.push(medley) + listener.flush()
      if update.seconds > PIECE_SECONDS
    ]
    correct = [update.genre == genres[second] for update in after]
    delays.append(after[correct.index(True)].seconds - PIECE_SECONDS if any(correct) else np.inf)
    changes = sum(a.genre != b.genre for a, b in zip(after, after[1:], strict=False))
    flickers += max(0, changes - 1)
    num_correct += sum(correct)
    total += len(correct)
  return np.array(delays), num_correct / total, flickers / (count * PIECE_SECONDS / 60)


def main(_):
  """Print the tables that the flags select."""
  os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
  model = load(MODEL.value)
  found = clips(find_corpus("gtzan", DATA.value, "audio"), model)
  sounds = [read_audio(path, model.frontend.sample_rate) for path in found]
  genres = list(found.values())
  print(
    f"{model.name}, {len(found)} clips of {len(set(genres))} labels that `predict`"
    f" classifies correctly; load {os.getloadavg()[0]:.1f}"
  )
  if HOURS.value:
    measure_speed(model, sounds, HOURS.value)
  if not MEDLEYS.value:
    return
  print(
    "\n| window s | smoothing s | median s to the correct label | within 3 s % | never % "
    "| predictions correct after a change % | needless changes per minute |\n" + "|---" * 7 + "|"
  )
  for window in WINDOWS.value:
    for smoothing in SMOOTHINGS.value:
      delays, right, flickers = measure_delay(
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
  command_line.run(main)
