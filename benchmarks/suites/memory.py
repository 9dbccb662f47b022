"""Memory over time of the two commands that process much data: `prepare` and `predict`."""

import dataclasses
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.harness import ROOT, Options
from benchmarks.process_memory import descendants, proportional_bytes
from benchmarks.synthetic_audio import music, write_files

TITLE = "Memory: preparing many clips, predicting a long file"
TARGET = "constant; preparing 10,000 clips below 1.5 GB, predicting a 10-hour file below 700 MB"
NOTES = "memory"
INTERVAL = 0.25  # seconds between samples
RATE = 44100


@dataclasses.dataclass
class MemoryTrace:
  """Memory of a command over its run time.

  Attributes:
    seconds: of each sample, since the start.
    megabytes: memory of the command and its workers; shared pages count once (PSS).
    output: last line that the command printed.
  """

  seconds: np.ndarray
  megabytes: np.ndarray
  output: str


def watch(command: list[str], cwd: pathlib.Path = ROOT) -> MemoryTrace:
  """Run a command and sample the memory of its whole tree of processes.

  Raises:
    RuntimeError: If the command fails, with the last line of its output.
  """
  with (
    tempfile.TemporaryFile("w+") as output,
    subprocess.Popen(command, cwd=cwd, stdout=output, stderr=subprocess.STDOUT) as process,
  ):
    begun, samples = time.monotonic(), []
    while process.poll() is None:
      tree = process.pid, *descendants(process.pid)
      samples.append((time.monotonic() - begun, sum(map(proportional_bytes, tree)) / 1e6))
      time.sleep(INTERVAL)
    output.seek(0)
    lines = output.read().strip().splitlines()
  last = lines[-1] if lines else ""
  if process.returncode:
    raise RuntimeError(f"{' '.join(command[2:4])} ended with {process.returncode}: {last}")
  return MemoryTrace(*np.array(samples).T, last)


def row(task: str, trace: MemoryTrace) -> str:
  """Return a row of the table: peak, and medians of the four quarters of the run time."""
  quarters = [np.median(part) for part in np.array_split(trace.megabytes, 4) if len(part)]
  return (
    f"| {task} | {trace.seconds[-1]:.0f} s | {trace.megabytes.max():.0f} MB | "
    + ", ".join(f"{value:.0f}" for value in quarters)
    + f" | {trace.output} |"
  )


def report(options: Options) -> str:
  """Measure both commands, plot their memory over time, and return a table in Markdown."""
  songs = options.folder / "songs"
  write_files(songs, "flac", 22050, channels=1, count=options.clips, seconds=10.0)
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
      f"preparing {options.clips:,} clips of 10 s": preparing,
      f"predicting a file of {options.hours:g} h": predicting,
    },
  )
  return "\n".join(
    [
      "| task | time | peak | medians of the quarters of the run time, MB | last line of output |",
      "|---|---|---|---|---|",
      row(f"preparing {options.clips:,} clips of 10 s (FLAC)", preparing),
      row(
        f"predicting a file of {options.hours:g} h (stereo, {RATE} Hz, RF64,"
        f" {long.stat().st_size / 1e9:.1f} GB)",
        predicting,
      ),
      "",
      "![memory over time](plots/memory.png)",
      "",
      "Memory of a command with all its processes. Pages that they share count once, and pages that"
      " other programs share, in part.",
      "",
    ]
  ).replace(f"{options.folder}/", "")


def write_long(path: pathlib.Path, hours: float) -> None:
  """Write an RF64 file, 16-bit stereo, from clips of the synthetic corpus at changing levels."""
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


def plot(path: pathlib.Path, traces: dict[str, MemoryTrace]) -> None:
  """Plot memory over the share of each command's run time."""
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot

  figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
  for name, trace in traces.items():
    axes.plot(100 * trace.seconds / trace.seconds[-1], trace.megabytes, label=name)
  axes.set(xlabel="% of the command's run time", ylabel="memory, MB", ylim=(0, None))
  axes.legend()
  path.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(path, dpi=100)
  pyplot.close(figure)
