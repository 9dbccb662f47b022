"""Memory over time of the two commands that work through much: preparing and predicting."""

import dataclasses
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.harness import ROOT, Options
from benchmarks.synthetic_audio import music, write_files

TITLE = "Memory: preparing many clips, predicting a long file"
TARGET = "flat; preparing 10,000 clips below 1.5 GB, predicting a 10-hour file below 700 MB"
INTERVAL = 0.25  # seconds between samples
RATE = 44100


@dataclasses.dataclass
class Watched:
  """A command that has run.

  Attributes:
    seconds: of each sample, since the start.
    megabytes: of the command and its workers; memory that they share counts once (PSS).
    output: last line that it printed.
  """

  seconds: np.ndarray
  megabytes: np.ndarray
  output: str


def watch(command: list[str], cwd: pathlib.Path = ROOT) -> Watched:
  """Runs a command and samples the memory of its whole tree of processes.

  Raises:
    RuntimeError: where it fails, with the last line of its errors.
  """
  with (
    tempfile.TemporaryFile("w+") as output,
    subprocess.Popen(command, cwd=cwd, stdout=output, stderr=subprocess.STDOUT) as process,
  ):
    begun, samples = time.monotonic(), []
    while process.poll() is None:
      samples.append((time.monotonic() - begun, sum(map(_megabytes, _tree(process.pid)))))
      time.sleep(INTERVAL)
    output.seek(0)
    lines = output.read().strip().splitlines()
  last = lines[-1] if lines else ""
  if process.returncode:
    raise RuntimeError(f"{' '.join(command[2:4])} ended with {process.returncode}: {last}")
  return Watched(*np.array(samples).T, last)


def _tree(pid):
  """A process and all below it."""
  yield pid
  try:
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
      for child in (task / "children").read_text().split():
        yield from _tree(int(child))
  except OSError:  # it has just ended
    return


def _megabytes(pid):
  """Proportional resident memory of a process."""
  try:
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
  except OSError:
    return 0.0
  return next(
    (int(line.split()[1]) / 1e3 for line in text.splitlines() if line.startswith("Pss:")), 0.0
  )


def row(what: str, watched: Watched) -> str:
  """A line of the table: peak, and the medians of the quarters of its time."""
  quarters = [np.median(part) for part in np.array_split(watched.megabytes, 4) if len(part)]
  return (
    f"| {what} | {watched.seconds[-1]:.0f} s | {watched.megabytes.max():.0f} MB | "
    + ", ".join(f"{value:.0f}" for value in quarters)
    + f" | {watched.output} |"
  )


def report(options: Options) -> str:
  """Both commands, and a plot of their memory over time."""
  songs = options.folder / "songs"
  write_files(songs, "flac", 22050, channels=1, count=options.clips, seconds=30.0)
  preparing = watch(
    [
      sys.executable,
      "-m",
      "genre_jax.prepare",
      "--config=experiments/base.py",
      f"--config.dataset.path={songs}",
      "--config.dataset.genres=all",
      f"--config.dataset.prepared_dir={options.folder / 'prepared'}",
    ]
  )
  long = options.folder / "long.wav"
  write_long(long, options.hours)
  predicting = watch([sys.executable, "-m", "genre_jax.predict", str(long)])
  plot(
    options.plots / "memory.png",
    {
      f"preparing {options.clips:,} clips of 30 s": preparing,
      f"predicting a file of {options.hours:g} h": predicting,
    },
  )
  return "\n".join(
    [
      "| work | time | peak | medians of the quarters of its time, MB | its last line |",
      "|---|---|---|---|---|",
      row(f"preparing {options.clips:,} clips of 30 s (FLAC)", preparing),
      row(
        f"predicting a file of {options.hours:g} h (stereo, {RATE} Hz, RF64,"
        f" {long.stat().st_size / 1e9:.1f} GB)",
        predicting,
      ),
      "",
      "![memory over time](plots/memory.png)",
      "",
      "Memory of a command with all its processes; pages that they share count once.",
      "",
    ]
  ).replace(f"{options.folder}/", "")


def write_long(path: pathlib.Path, hours: float) -> None:
  """Writes an RF64 file, stereo in 16 bits, of pieces of the built-in corpus at changing levels."""
  import soundfile

  sound = music(60.0, RATE)
  sound = np.stack([sound, np.roll(sound, 20)], 1)
  left = int(hours * 3600 * RATE)
  with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16", format="RF64") as file:
    minute = 0
    while left > 0:
      file.write(sound[:left] * (0.5 + 0.5 * (minute % 7) / 7))
      left -= len(sound)
      minute += 1


def plot(path: pathlib.Path, watched: dict[str, Watched]) -> None:
  """Memory over the share of each command's time."""
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot

  figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
  for name, one in watched.items():
    axes.plot(100 * one.seconds / one.seconds[-1], one.megabytes, label=name)
  axes.set(xlabel="% of the command's time", ylabel="memory, MB", ylim=(0, None))
  axes.legend()
  path.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(path, dpi=100)
  pyplot.close(figure)
