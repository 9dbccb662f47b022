"""Kill commands at random moments, complete them and compare: `python -m benchmarks.kill`.

Each command is killed by SIGKILL a few times in a row, from its start or later. Then the same
command runs to its end. Its files must equal those of an uninterrupted command, apart from times.
Between two kills, every result file that exists must be whole.
"""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import soundfile
from absl import flags

from benchmarks import fuzz
from genre_jax import command_line
from genre_jax.errors import UserError
from genre_jax.files import write_block

KILLS = flags.DEFINE_integer("kills", 50, "Kills of each command.", lower_bound=1)
IN_A_ROW = flags.DEFINE_integer("in_a_row", 5, "Kills before a command is completed.")
ONLY = flags.DEFINE_list("only", [], "Names of commands; all if empty.")
RECORD = flags.DEFINE_string("record", "", "JSON file that collects the rows of several calls.")

SONGS = 24
CONFIG = """
from genre_jax.experiments import base

def get_config():
  config = base.get_config()
  config.dataset.source = "synthetic"
  config.frontend.num_frames = 32
  config.frontend.n_mels = 32
  config.split.name = "random_tracks"
  config.split.num_folds = 4
  config.model.name = "baseline"
  with config.unlocked():
    config.model.channels = (4, 8)
  config.segments.train_per_track = 1
  config.train.epochs = 8
  config.train.eval_every_epochs = 1
  config.train.report = False
  return config
"""
# Times, and what depends on them.
VARIABLE = re.compile(r'"[a-z_]*(seconds|minutes|time|date|created)[a-z_]*": *[^,}\n]*')


@dataclasses.dataclass(frozen=True)
class Command:
  """A command that may be killed.

  Attributes:
    arguments: Of `python -m genre_jax.`, with relative paths.
    results: Patterns of the files that count.
    needs: Name of the command whose results must exist before.
  """

  arguments: tuple[str, ...]
  results: tuple[str, ...]
  needs: str = ""


TRAIN = ("main", "--config=tiny.py", "--workdir=run", "--config.dataset.prepared_dir=prepared")
COMMANDS = {
  "predict csv": Command(("predict", "songs", "--format=csv", "--out=a.csv"), ("a.csv",)),
  "predict jsonl": Command(("predict", "songs", "--format=jsonl", "--out=a.jsonl"), ("a.jsonl",)),
  "predict parquet": Command(
    ("predict", "songs", "--format=parquet", "--out=a.parquet", "--embeddings=e.parquet"),
    ("a.parquet", "e.parquet"),
  ),
  "prepare": Command(
    ("prepare", "--config=tiny.py", "--config.dataset.prepared_dir=prepared"), ("prepared/**/*",)
  ),
  "train": Command(TRAIN, ("run/eval/*.json", "run/eval/*.csv"), "prepare"),
  "evaluate": Command((*TRAIN, "--mode=eval"), ("run/eval/*.json", "run/eval/*.csv"), "train"),
  "pack": Command(("pretrained", "pack", "run", "--out=packed"), ("packed/*",), "train"),
  "export": Command(("export", "--out=model.zip"), ("model.zip",)),
}


def content(path: pathlib.Path):
  """Return what a file contains, without times; an unreadable file raises an error."""
  if path.suffix == ".parquet":
    import pyarrow.parquet

    return sorted(map(repr, pyarrow.parquet.read_table(path).to_pylist()))
  if path.suffix in (".npz", ".zip"):
    import zipfile

    with zipfile.ZipFile(path) as archive:
      return {name: archive.read(name) for name in archive.namelist()}
  data = path.read_bytes()
  if path.suffix == ".json":
    text = VARIABLE.sub("", data.decode())
    json.loads(data)
    return text
  return data


def contents(folder: pathlib.Path, command: Command) -> dict[str, object]:
  """Return the contents of the result files of a command by their names.

  Hidden files and folders that end in ".partial" are unfinished, and no command reads them as a
  result.
  """
  return {
    str(path.relative_to(folder)): content(path)
    for pattern in command.results
    for path in sorted(folder.glob(pattern))
    if path.is_file()
    and not any(part.startswith(".") or part.endswith(".partial") for part in path.parts[-2:])
  }


def start(folder: pathlib.Path, command: Command) -> subprocess.Popen:
  """Start a command in a folder, as the leader of a process group."""
  environment = {**os.environ, "PYTHONPATH": os.getcwd()}
  module, *arguments = command.arguments
  with open(folder / "log", "ab") as log:
    return subprocess.Popen(
      [sys.executable, "-m", f"genre_jax.{module}", *arguments],
      cwd=folder,
      env=environment,
      stdout=log,
      stderr=log,
      start_new_session=True,
    )


def complete(folder: pathlib.Path, command: Command) -> float:
  """Run a command to its end; return the seconds."""
  started = time.monotonic()
  if start(folder, command).wait() != 0:
    raise UserError(f"{' '.join(command.arguments)}: {(folder / 'log').read_text()[-2000:]}")
  return time.monotonic() - started


def try_command(command: Command, begin: pathlib.Path, rng) -> dict[str, float]:
  """Kill a command, complete it and compare; return counts.

  Args:
    command: The command.
    begin: Folder from which the command starts.
    rng: Random numbers.
  """
  counts = {"kills": 0, "completed": 0, "different": 0, "half": 0, "failed": 0}
  with tempfile.TemporaryDirectory(prefix="kill-") as name:
    folder = pathlib.Path(name) / "uninterrupted"
    shutil.copytree(begin, folder)
    seconds = complete(folder, command)
    expected = contents(folder, command)
    before = contents(begin, command)
    assert expected, "there are no results"
    while counts["kills"] < KILLS.value:
      folder = pathlib.Path(name) / "killed"
      shutil.copytree(begin, folder)
      for _ in range(IN_A_ROW.value):
        process, started = start(folder, command), time.monotonic()
        try:
          process.wait(float(rng.uniform(0.3, 1.0)) * seconds)
          seconds = time.monotonic() - started  # it was faster than its first run
        except subprocess.TimeoutExpired:
          # A killed command does not end its workers: they must end by themselves.
          process.send_signal(signal.SIGKILL)
          process.wait()
          counts["kills"] += 1
        counts["half"] += not whole(folder, command, {**before, **expected})
      try:
        if "--out=packed" not in command.arguments or contents(folder, command) != expected:
          complete(folder, command)  # `pack` refuses to replace a model
        counts["completed"] += 1
        found = contents(folder, command)
        if found != expected:
          counts["different"] += 1
          names = [key for key in {*found, *expected} if found.get(key) != expected.get(key)]
          print("different:", command.arguments, names)
      except Exception as error:
        counts["failed"] += 1
        print("failed:", command.arguments, error)
      shutil.rmtree(folder)
  return counts


def whole(folder: pathlib.Path, command: Command, expected: dict[str, object]) -> bool:
  """Return whether the result files can be read; a file of lines may be a part of the whole."""
  try:
    found = contents(folder, command)
  except Exception as error:
    print("half a file:", command.arguments, error)
    return False
  for name, value in found.items():
    lines = name.endswith((".csv", ".jsonl"))
    if lines and name in expected and not bytes(expected[name]).startswith(value):
      print("half a file:", command.arguments, name)
      return False
  return True


def main(_):
  """Kill every command and print a table."""
  record = pathlib.Path(RECORD.value) if RECORD.value else None
  rows = json.loads(record.read_text()) if record and record.exists() else {}
  rng = np.random.default_rng(fuzz.SEED.value)
  with tempfile.TemporaryDirectory(prefix="kill-") as name:
    begins = {"": pathlib.Path(name) / "begin"}
    (begins[""] / "songs").mkdir(parents=True)
    (begins[""] / "tiny.py").write_text(CONFIG)
    for seed in range(SONGS):
      soundfile.write(begins[""] / f"songs/{seed:02d}.flac", np.tile(fuzz.song(seed), 8), fuzz.RATE)

    def begin(needed):
      if needed not in begins:
        begins[needed] = pathlib.Path(name) / needed
        shutil.copytree(begin(COMMANDS[needed].needs), begins[needed])
        complete(begins[needed], COMMANDS[needed])
      return begins[needed]

    for name_of, command in COMMANDS.items():
      if not ONLY.value or name_of in ONLY.value:
        rows[name_of] = try_command(command, begin(command.needs), rng)
        print(name_of, rows[name_of], flush=True)
        if record:
          record.write_text(json.dumps(rows))
  text = "| command | kills | half files | completed | with another result | failed |\n"
  text += "|---|---|---|---|---|---|\n"
  for name_of, row in rows.items():
    cells = (row[key] for key in ("kills", "half", "completed", "different", "failed"))
    text += f"| {name_of} | {' | '.join(map(str, cells))} |\n"
  print(text)
  if fuzz.INTO.value:
    write_block(
      pathlib.Path(fuzz.INTO.value), "kill", f"\n`python -m benchmarks.kill`:\n\n{text}\n"
    )
  if any(row["half"] or row["different"] or row["failed"] for row in rows.values()):
    raise UserError("a kill has changed a result")


if __name__ == "__main__":
  command_line.run(main)
