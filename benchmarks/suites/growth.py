"""Growth of the cost with the number of clips and with their length."""

import contextlib
import pathlib
import shutil
import time

import numpy as np

from benchmarks.harness import Options
from benchmarks.suites.pipeline import Training
from benchmarks.synthetic_audio import write_files

TITLE = "Growth of the cost"
TARGET = "proportional growth, a slope of 1 on logarithmic axes; the slope is stated"
TIMES = (1, 4, 16, 64)
CLIPS = 8  # of 30 s, the smallest number
SECONDS = (3, 10, 30, 100, 300, 600)
RATE = 22050
LONG_SECONDS = 5.0  # of all runs, after which there is no further one


def slope(sizes, seconds) -> float:
  """Return the slope of the straight line through the logarithms."""
  return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def median_seconds(run, repeats: int) -> float:
  """Return the median seconds of a function, after one run to warm up; a long one runs once."""
  run()
  times: list[float] = []
  while len(times) < repeats and sum(times) < LONG_SECONDS:
    begun = time.perf_counter()
    run()
    times.append(time.perf_counter() - begun)
  return float(np.median(times))


def preparing(folder: pathlib.Path, count: int, seconds: float, repeats: int) -> float:
  """Return the seconds to prepare FLAC files in one process."""
  from genre_jax.data.frontend import FrontendConfig
  from genre_jax.data.prepared import prepare
  from genre_jax.data.sources.registry import open_source

  songs, root = folder / f"{count}-{seconds:g}", folder / "prepared"
  if not songs.exists():
    write_files(songs, "flac", RATE, channels=1, count=count, seconds=seconds, distinct=4)
  source = open_source("audio_folder", str(songs), "all")

  def run():
    shutil.rmtree(root, ignore_errors=True)
    prepare(source, FrontendConfig(), root, workers=1)

  return median_seconds(run, repeats)


def epoch(folder: pathlib.Path, count: int, repeats: int) -> float:
  """Return the seconds of an epoch of axis_features over random clips of 30 s, with pipeline."""
  with contextlib.closing(Training(folder / "random", count)) as training:
    batch = training.next_batch()

    def run():
      nonlocal batch
      for _ in range(training.steps_per_epoch):
        batch = training.step(batch, training.next_batch)

    return median_seconds(run, repeats)


def predicting(folder: pathlib.Path, seconds: float, repeats: int) -> float:
  """Return the seconds to predict one file, with the model loaded."""
  from genre_jax.inference import load, predict

  songs = folder / f"one-{seconds:g}"
  write_files(songs, "flac", RATE, channels=1, count=1, seconds=seconds)
  path, model = str(next(songs.glob("*/*"))), load("axis_features_10")
  return median_seconds(lambda: list(predict(path, model)), repeats)


def report(options: Options) -> str:
  """Measure, plot, and return tables with slopes in Markdown."""
  repeats = max(1, min(3, options.repeats))
  counts = [max(1, round(CLIPS * options.scale)) * times for times in TIMES]
  lengths = [seconds for seconds in SECONDS if seconds <= max(10, SECONDS[-1] * options.scale)]
  folder = options.folder
  by_count = {
    "preparing (FLAC, 30 s a clip)": [preparing(folder, n, 30.0, repeats) for n in counts],
    "training (an epoch of axis_features)": [epoch(folder, n, repeats) for n in counts],
  }
  by_length = {
    "preparing a clip": [preparing(folder, 8, s, repeats) / 8 for s in lengths],
    "predicting a file": [predicting(folder, s, repeats) for s in lengths],
  }
  parts = []
  for name, unit, sizes, curves in (
    ("growth_clips", "clips", counts, by_count),
    ("growth_length", "seconds a clip", lengths, by_length),
  ):
    plot(options.plots / f"{name}.png", unit, sizes, curves)
    parts += [
      f"| {unit} | " + " | ".join(map(str, sizes)) + " | slope |",
      "|---" * (len(sizes) + 2) + "|",
    ]
    parts += [
      f"| {what} | "
      + " | ".join(f"{value:.3g} s" for value in values)
      + f" | {slope(sizes, values):.2f} |"
      for what, values in curves.items()
    ]
    parts += ["", f"![cost against {unit}](plots/{name}.png)", ""]
  return "\n".join(parts)


def plot(path: pathlib.Path, unit: str, sizes, curves, cost: str = "seconds") -> None:
  """Plot a cost against size on logarithmic axes, with a line of slope 1."""
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot

  figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
  for what, seconds in curves.items():
    axes.loglog(sizes, seconds, "o-", label=f"{what}: slope {slope(sizes, seconds):.2f}")
    axes.loglog(sizes, seconds[0] * np.array(sizes) / sizes[0], ":", color="gray", linewidth=1)
  axes.set(xlabel=unit, ylabel=f"{cost} (dotted: proportional)")
  axes.set_xticks(sizes, labels=list(map(str, sizes)), minor=False)
  axes.minorticks_off()
  axes.legend()
  path.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(path, dpi=100)
  pyplot.close(figure)
