"""Measure jobs on a Ray cluster of two nodes on this machine: `python -m benchmarks.partitions`.

First it predicts 20,000 short files, loses a node in the middle, and compares the rows, the time
and the processor time with those of `predict`. Then it runs a job of a million files of which no
file exists: a partition sleeps for --sleep seconds instead of predicting, and writes made-up rows.
This shows how long the workers wait for the next partition, and the memory of the command. Prints
tables in Markdown. The folder of GTZAN is in GENRE_JAX_DATA. --only=predicted,simulated chooses a
part.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import types

import soundfile
from absl import flags

from benchmarks.harness import ROOT
from benchmarks.process_memory import descendants, own_memory
from genre_jax import command_line
from genre_jax.distributed import job, manifest, ray_tasks
from genre_jax.studies.corpora import find_corpus

FILES = flags.DEFINE_integer("files", 20_000, "Short files to predict.", lower_bound=1)
SIMULATED = flags.DEFINE_integer("simulated", 1_000_000, "Files of the simulation.", lower_bound=1)
SLEEP = flags.DEFINE_float("sleep", 4.6, "Seconds that a simulated partition sleeps.")
CORES = flags.DEFINE_integer("cores", 8, "Simulated cores of each node.", lower_bound=1)
ONLY = flags.DEFINE_list("only", ["predicted", "simulated"], "Parts to run.")

MODEL = "axis_features_10"
DISTINCT, SECONDS = 1000, 0.7  # pieces of excerpts; the other files are hard links to them
PARTITION_FILES = 256
SHARES = (0.05, 0.25, 0.5, 0.75, 1.0)  # of the partitions, at which the simulation is measured
TICKS = os.sysconf("SC_CLK_TCK")


class ProcessorTime:
  """Processor time of all processes that this one starts within the block, in `seconds`."""

  def __enter__(self):
    self._last: dict[tuple[int, str], float] = {}
    self._stop = threading.Event()
    self._sample()
    self._before = dict(self._last)
    self._thread = threading.Thread(target=self._watch)
    self._thread.start()
    return self

  def __exit__(self, *_):
    self._stop.set()
    self._thread.join()
    self._sample()
    self.seconds = sum(self._last.values()) - sum(self._before.values())

  def _watch(self):
    while not self._stop.wait(0.5):
      self._sample()

  def _sample(self):
    for pid in descendants(os.getpid()):
      try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
      except OSError:  # it has ended
        continue
      self._last[pid, fields[19]] = (int(fields[11]) + int(fields[12])) / TICKS


def write_pieces(folder: pathlib.Path, count: int) -> None:
  """Write short files, cut from the excerpts of GTZAN, and hard links to them."""
  excerpts = sorted((find_corpus("gtzan") / "audio").rglob("*.flac"))
  for number in range(count):
    path = folder / f"{number // 1000:03}" / f"{number:06}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    first = number % DISTINCT
    if first < number:
      os.link(folder / f"{first // 1000:03}" / f"{first:06}.wav", path)
      continue
    with soundfile.SoundFile(excerpts[number % len(excerpts)]) as file:
      length = int(SECONDS * file.samplerate)
      file.seek(number // len(excerpts) * length % max(1, len(file) - length))
      soundfile.write(path, file.read(length), file.samplerate)


@contextlib.contextmanager
def two_nodes(cores: int):
  """Start a cluster of two nodes for the block; return it and the second node."""
  from ray.cluster_utils import Cluster

  node = {"num_cpus": cores, "object_store_memory": 100 << 20}
  cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
  try:
    yield cluster, cluster.add_node(**node)
  finally:
    cluster.shutdown()


def command(name: str, *arguments) -> list[str]:
  """Return a command of this package."""
  return [sys.executable, "-m", "genre_jax", name, *map(str, arguments)]


def rows_of(path: pathlib.Path) -> dict[str, dict]:
  """Return the rows of a JSON lines file by their files."""
  return {row["file"]: row for row in map(json.loads, path.read_text().splitlines())}


def measure_predicted(folder: pathlib.Path) -> None:
  """Compare a job that loses a node with `predict`."""
  music, work = folder / "music", folder / "work"
  write_pieces(music, FILES.value)
  quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
  rows = []

  def note(name, start, processor):
    rows.append((name, time.monotonic() - start, processor.seconds))

  start, out = time.monotonic(), folder / "predict.jsonl"
  with ProcessorTime() as processor:
    arguments = music, f"--model={MODEL}", "--workers=2", "--format=jsonl", f"--out={out}"
    subprocess.run(command("predict", *arguments), check=True, **quiet)
  note("`predict --workers=2`", start, processor)

  with two_nodes(1) as (cluster, second), ProcessorTime() as processor:
    start = time.monotonic()
    arguments = "predict", work, music, f"--model={MODEL}", "--engine=ray"
    place = f"--address={cluster.address}"
    driver = subprocess.Popen(command("job", *arguments, place), **quiet)
    finished = work / "partitions"
    half = FILES.value / PARTITION_FILES / 2
    while not finished.exists() or len(list(finished.glob("*.jsonl"))) < half:
      if driver.poll() is not None:
        raise RuntimeError("the job ended before half of its partitions")
      time.sleep(0.2)
    cluster.remove_node(second, allow_graceful=False)
    if driver.wait():
      raise RuntimeError(f"the job failed with status {driver.returncode}")
  note("`job predict --engine=ray`, a node lost", start, processor)
  merged = folder / "job.jsonl"
  subprocess.run(command("job", "merge", work, f"--out={merged}"), check=True, **quiet)

  found, expected = rows_of(merged), rows_of(out)
  assert found.keys() == expected.keys(), len(found)
  names = [name for name in next(iter(expected.values())) if name.startswith("p_")]
  largest = max(
    abs(found[file][name] - row[name]) for file, row in expected.items() for name in names
  )
  print("| command | seconds | processor seconds |\n|---|---|---|")
  for name, seconds, processor_seconds in rows:
    print(f"| {name} | {seconds:.0f} | {processor_seconds:.0f} |")
  print(f"\n{len(found):,} rows; largest difference of a probability: {largest:.1e}", flush=True)


def simulated_task(work, model, number, files) -> int:
  """Write a partition after some seconds; runs on the cluster."""
  from genre_jax.distributed import partitions
  from genre_jax.inference.predict_files import Prediction

  name, seconds, _ = model
  start = time.monotonic()
  probabilities = {label: 0.1 for label in work.settings.classes}

  def predict_found(some, *_, **__):
    time.sleep(seconds)
    return [
      Prediction(path, path, "ok", name, work.settings.classes[0], 0.1, probabilities)
      for path, _ in some
    ]

  partitions.predict_found = predict_found
  partitions.predict_partition(work, number, files, types.SimpleNamespace(name=name), None, 1)
  seconds_file = work.directory / "seconds" / f"{number}"
  seconds_file.write_text(f"{time.monotonic() - start}")
  return number


def measure_simulated(folder: pathlib.Path) -> None:
  """Run a job whose partitions sleep."""
  classes = tuple(f"class_{number}" for number in range(10))
  settings = manifest.Settings(
    "simulated", "", "", classes, None, False, 0.0, partition_files=PARTITION_FILES
  )
  files = [
    (
      f"/music/collection/artist {number // 120:05}/album {number // 12:06}/{number:07} song.flac",
      "",
    )
    for number in range(SIMULATED.value)
  ]
  count = -(-len(files) // PARTITION_FILES)
  points = {max(1, round(share * count)) for share in SHARES}
  directory = folder / "simulated"
  (directory / "seconds").mkdir(parents=True)
  samples = []

  def measured(work, partitions):
    model = "simulated", SLEEP.value, ""
    numbers = ray_tasks.predict_all(work, partitions, model=model, address=cluster.address)
    for done, number in enumerate(numbers, 1):
      yield number
      busy[number] = float((directory / "seconds" / f"{number}").read_text())
      if done in points:
        samples.append((done, time.monotonic(), time.process_time(), own_memory()))

  busy: dict[int, float] = {}
  ray_tasks.predict_task = simulated_task
  with two_nodes(CORES.value) as (cluster, _):
    start = time.monotonic()
    job.run(directory, settings, files, measured, file_seconds=60, num_failures=0)
  print("| partitions | seconds | memory of the command, MB |\n|---|---|---|")
  for done, moment, _, memory in samples:
    print(f"| {done:,} | {moment - start:.0f} | {memory / 1e6:.0f} |")
  (first, begun, before, _), (last, ended, after, _) = samples[0], samples[-1]
  cores, count = 2 * CORES.value, last - first
  seconds = list(busy.values())[first:]
  print(
    f"\nFrom {first:,} to {last:,} partitions: {cores} simulated cores were busy for"
    f" {sum(seconds) / cores:.1f} of {ended - begun:.1f} s, so scheduling added"
    f" {100 * ((ended - begun) * cores / sum(seconds) - 1):.1f} %. A partition took"
    f" {sum(seconds) / count:.2f} s, of which {SLEEP.value} s was sleep, and the command"
    f" {1e3 * (after - before) / count:.1f} ms of processor time.",
    flush=True,
  )


def main(_) -> None:
  """Run the parts."""
  os.environ["PYTHONPATH"] = str(ROOT)  # of the workers of Ray
  os.environ["RAY_worker_niceness"] = "0"  # other programs use the machine: priority of `predict`
  parts = {"predicted": measure_predicted, "simulated": measure_simulated}
  with tempfile.TemporaryDirectory() as folder:
    for name in ONLY.value:
      parts[name](pathlib.Path(folder))


if __name__ == "__main__":
  command_line.run(main)
