"""Damage audio files at random and predict them: `python -m benchmarks.fuzz --files=20000`.

Writes short files of every format of `tests/data/encoded.py`, damages copies of them, and runs
`predict` on folders of them. Each file must get one row; the command must not crash, hang or need
1 GB. Files that crash the decoder, take too long or raise an unexpected error are kept with --keep.
"""

import collections
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import soundfile
from absl import flags

from benchmarks.process_memory import peak_memory
from genre_jax import command_line
from genre_jax.errors import UserError
from genre_jax.files import write_block
from tests.data import encoded

FILES = flags.DEFINE_integer("files", 20_000, "Number of damaged files.", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "Seed.")
SECONDS = flags.DEFINE_float("seconds", 0.0, "Stop after this time; 0: after all files.")
BATCH = flags.DEFINE_integer("batch", 500, "Files of one command.", lower_bound=1)
KEEP = flags.DEFINE_string("keep", "", "Folder for the files that show a fault.")
INTO = flags.DEFINE_string("into", "", "Markdown file with the block <!-- fuzz -->.")

RATE, SONG_SECONDS = 22050, 2.0
FILE_SECONDS = 20
COMMAND_SECONDS = 1800
MAX_MEMORY = 1e9
# Errors that no file should cause.
FAULT = re.compile(r"ended the process|took longer|[A-Z]\w*(Error|Exception|Warning)\b")


def song(seed: int) -> np.ndarray:
  """Return a chord with noise, float32[samples]."""
  rng = np.random.default_rng(seed)
  at = np.arange(int(RATE * SONG_SECONDS)) / RATE
  chord = sum(np.sin(2 * np.pi * hertz * at) for hertz in rng.uniform(100, 2000, 3))
  return (0.2 * chord + 0.05 * rng.standard_normal(len(at))).astype(np.float32)


def undamaged(folder: pathlib.Path) -> dict[str, bytes]:
  """Return {name: content} of one file of each format."""
  files = {}
  for seed, (name, (container, codec, _)) in enumerate(encoded.FORMATS.items()):
    rate = {"libopus": 48000, "ac3": 32000}.get(codec, RATE)
    path = encoded.encode(folder / name, song(seed), rate, container, codec)
    files[name] = path.read_bytes()
  files["song.dsf"] = encoded.write_dsf(folder / "song.dsf", song(90)[:RATE], RATE).read_bytes()
  samples = (song(91) * 20000).astype(np.int16)
  files["rf64.wav"] = encoded.write_rf64(folder / "rf64.wav", samples, RATE).read_bytes()
  soundfile.write(folder / "vorbis.ogg", song(92), RATE)
  files["vorbis.ogg"] = (folder / "vorbis.ogg").read_bytes()
  files["chained.ogg"] = files["vorbis.ogg"] + files["song.opus"]
  files["joined.mp3"] = 2 * files["song.mp3"]
  return files


def flip_bits(data, _, rng):
  """Flip 1 to 100 bits, half of the time in the first 512 bytes."""
  end = min(len(data), 512) if rng.random() < 0.5 else len(data)
  for at in rng.integers(0, end, int(10 ** rng.uniform(0, 2))):
    data[at] ^= 1 << int(rng.integers(8))
  return data


def truncate(data, _, rng):
  """Cut off the end."""
  return data[: int(len(data) * rng.random())]


def splice(data, other, rng):
  """Continue with another file."""
  return data[: int(rng.integers(len(data)))] + other[int(rng.integers(len(other))) :]


def swap_header(data, other, rng):
  """Take the beginning from another file."""
  length = int(2 ** rng.uniform(2, 10))
  return other[:length] + data[length:]


def insert_junk(data, _, rng):
  """Insert up to 64 KB of random bytes."""
  at = int(rng.integers(len(data)))
  return data[:at] + rng.bytes(int(2 ** rng.uniform(0, 16))) + data[at:]


def zero_block(data, _, rng):
  """Overwrite a block with zeros or ones."""
  at, length = int(rng.integers(len(data))), int(2 ** rng.uniform(0, 14))
  fill = bytes([0 if rng.random() < 0.7 else 255])
  return data[:at] + (fill * length)[: len(data) - at] + data[at + length :]


def extreme_number(data, _, rng):
  """Replace 1 to 8 bytes near the beginning by an extreme number."""
  length = int(rng.choice([1, 2, 4, 8]))
  at = int(rng.integers(min(len(data), 256)))
  number = rng.choice([b"\0", b"\xff", b"\x7f", b"\x80"])
  data[at : at + length] = (bytes(number) + rng.bytes(8))[:1] * length
  return data


def repeat_part(data, _, rng):
  """Write a part twice."""
  at, length = int(rng.integers(len(data))), int(2 ** rng.uniform(2, 14))
  return data[: at + length] + data[at:]


DAMAGES = (
  flip_bits,
  truncate,
  splice,
  swap_header,
  insert_junk,
  zero_block,
  extreme_number,
  repeat_part,
)


def damaged(files: dict[str, bytes], rng: np.random.Generator) -> tuple[str, bytes]:
  """Return the name of a random file and its content after 1 to 3 kinds of damage."""
  names = list(files)
  name = names[int(rng.integers(len(names)))]
  data = bytearray(files[name])
  for _ in range(int(rng.integers(1, 4))):
    other = files[names[int(rng.integers(len(names)))]]
    change = DAMAGES[int(rng.integers(len(DAMAGES)))]
    data = bytearray(change(data, other, rng) or b"\0")
  return name, bytes(data)


class Totals:
  """Sums over all commands."""

  def __init__(self):
    self.files = self.commands = 0
    self.seconds = 0.0
    self.memory: dict[str, float] = collections.defaultdict(float)
    self.rows: collections.Counter[str] = collections.Counter()
    self.reasons: collections.Counter[str] = collections.Counter()
    self.faults: collections.Counter[str] = collections.Counter()

  def add(self, folder: pathlib.Path, keep: str) -> None:
    """Run `predict` on a folder and check its rows."""
    paths = sorted(folder.iterdir())
    started = time.monotonic()
    command = ["-m", "genre_jax.predict", "--format=jsonl", f"--file_seconds={FILE_SECONDS}"]
    with subprocess.Popen(
      [sys.executable, *command, "--workers=2", folder],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    ) as process:
      watch = threading.Thread(target=peak_memory, args=(process, self.memory))
      watch.start()
      try:
        output, errors = process.communicate(timeout=COMMAND_SECONDS)
      except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        self.faults["the command hung"] += 1
      watch.join()
    self.seconds += time.monotonic() - started
    self.files += len(paths)
    self.commands += 1
    rows = {row["file"]: row for row in map(json.loads, output.splitlines())}
    bad = []
    if process.returncode not in (0, 1) or set(rows) != set(map(str, paths)):
      self.faults[f"the command ended with status {process.returncode}"] += 1
      print(errors[-2000:], file=sys.stderr)
      bad = [path for path in paths if str(path) not in rows]
    for file, row in rows.items():
      self.rows[row["status"] + (" with a note" if row.get("note") else "")] += 1
      if row["status"] == "failed":
        reason = re.sub(r"\d[\d.e+]*", "N", row["error"])
        self.reasons[reason] += 1
        if FAULT.search(row["error"]):
          self.faults[reason] += 1
          bad.append(pathlib.Path(file))
    if keep and bad:
      pathlib.Path(keep).mkdir(parents=True, exist_ok=True)
      for path in bad:
        shutil.copy(path, keep)

  def markdown(self) -> str:
    """Return the numbers as Markdown."""
    rows = [
      ("files, each with one row", f"{sum(self.rows.values()):,} of {self.files:,}"),
      *((f"rows {kind}", f"{count:,}") for kind, count in sorted(self.rows.items())),
      ("commands", f"{self.commands}"),
      ("seconds", f"{self.seconds:.0f}"),
      ("peak memory of a command", f"{self.memory['parent'] / 1e6:.0f} MB"),
      ("peak memory of a worker process", f"{self.memory['worker'] / 1e6:.0f} MB"),
      ("peak memory of both together", f"{self.memory['all'] / 1e6:.0f} MB"),
      ("crashes, hangs and unexpected errors", f"{sum(self.faults.values())}"),
    ]
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]
    lines += ["| reason of a failed row | rows |", "|---|---|"]
    lines += [f"| {reason} | {count:,} |" for reason, count in self.reasons.most_common(25)]
    return "\n".join(lines) + "\n"


def main(_):
  """Damage, predict, check and print."""
  rng, totals = np.random.default_rng(SEED.value), Totals()
  with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
    files = undamaged(pathlib.Path(folder))
  end = time.monotonic() + (SECONDS.value or float("inf"))
  while totals.files < FILES.value and time.monotonic() < end:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
      for number in range(min(BATCH.value, FILES.value - totals.files)):
        name, data = damaged(files, rng)
        (pathlib.Path(folder) / f"{totals.files + number:06d}_{name}").write_bytes(data)
      totals.add(pathlib.Path(folder), KEEP.value)
    print(
      f"{totals.files} files, {totals.seconds:.0f} s, {dict(totals.rows)},"
      f" faults {dict(totals.faults)}, memory {totals.memory['all'] / 1e6:.0f} MB",
      flush=True,
    )
  text = totals.markdown()
  print(text)
  if INTO.value:
    note = f"\n`python -m benchmarks.fuzz --files={totals.files} --seed={SEED.value}`:\n\n"
    write_block(pathlib.Path(INTO.value), "fuzz", note + text + "\n")
  if totals.faults or totals.memory["all"] >= MAX_MEMORY:
    raise UserError(f"faults: {dict(totals.faults)}; memory: {totals.memory['all'] / 1e6:.0f} MB")


if __name__ == "__main__":
  command_line.run(main)
