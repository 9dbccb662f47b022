"""Let each write, fsync and rename fail once: `python -m benchmarks.disk_faults`.

Compiles a library that replaces the C functions `write`, `fsync`, `rename` and `renameat`, and
starts itself again with it. For each kind of output and each call, the call fails with ENOSPC, EIO
or EINTR. Then the file must be the old one or the new one (for CSV and JSON lines also a part of
the new rows), the error must be a UserError or an OSError, and writing again gives the new file.
"""

import collections
import ctypes
import errno
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
from absl import flags

from benchmarks import fuzz
from benchmarks.kill import content
from genre_jax import command_line
from genre_jax.errors import UserError
from genre_jax.files import write_block, write_json
from genre_jax.inference import model_dir, playlists, prediction_rows
from genre_jax.inference.lines_writer import LinesWriter
from genre_jax.inference.parquet_writer import embedding_writer, prediction_writer
from genre_jax.inference.predict_files import Prediction

PRELOADED = flags.DEFINE_string("preloaded", "", "The compiled library; set by the program itself.")

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
static const char *kinds[] = {"write", "fsync", "rename"};
static int armed = -1, left, number, hit;
void arm(int kind, int at, int error) { armed = kind; left = at; number = error; hit = 0; }
int disarm(void) { armed = -1; return hit; }
static int fails(int kind) {
  if (armed != kind || --left) return 0;
  hit = 1; errno = number; return 1;
}
#define REAL(name) __typeof__(name) *real = dlsym(RTLD_NEXT, #name)
ssize_t write(int file, const void *data, size_t size) {
  REAL(write);
  return file > 2 && fails(0) ? -1 : real(file, data, size);
}
int fsync(int file) { REAL(fsync); return fails(1) ? -1 : real(file); }
int rename(const char *from, const char *to) {
  REAL(rename);
  return fails(2) ? -1 : real(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
  REAL(renameat);
  return fails(2) ? -1 : real(a, from, b, to);
}
"""
CALLS = ("write", "fsync", "rename")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EINTR)
COLUMNS = prediction_rows.columns(("blues", "rock"), timeline=False)
MOST_CALLS = 200


def example(number: int) -> Prediction:
  """Return a prediction of a file."""
  name = f"s{number}.flac"
  probabilities = {"blues": 0.25, "rock": 0.75}
  embedding = np.zeros(4, np.float32)
  return Prediction(
    name, name, "ok", "m", "rock", 0.75, probabilities, seconds=3.0, embedding=embedding
  )


def write_rows(writer, count: int) -> None:
  """Write predictions and close the file."""
  for number in range(count):
    writer.write(example(number))
  writer.close()


def write_lists(folder: pathlib.Path, count: int) -> None:
  """Write a playlist."""
  path = playlists.playlist_folder(str(folder / "lists"))
  playlists.write_playlists(path, [(f"/s{number}.flac", "rock") for number in range(count)])


def write_model(folder: pathlib.Path, count: int) -> None:
  """Write a model directory."""
  model_dir.write_model(folder / "model", {"name": "m"}, {"params/a": np.arange(count)})


# {kind: function of (folder, rows)}.
OUTPUTS = {
  "csv": lambda folder, n: write_rows(LinesWriter(folder / "a.csv", "csv", COLUMNS, False), n),
  "jsonl": lambda folder, n: write_rows(
    LinesWriter(folder / "a.jsonl", "jsonl", COLUMNS, False), n
  ),
  "parquet": lambda folder, n: write_rows(
    prediction_writer(folder / "a.parquet", COLUMNS, False), n
  ),
  "embeddings": lambda folder, n: write_rows(embedding_writer(folder / "e.parquet"), n),
  "playlists": write_lists,
  "model directory": write_model,
  "json": lambda folder, n: write_json(folder / "a.json", {"rows": list(range(n))}),
}


def state(folder: pathlib.Path) -> dict[str, object]:
  """Return the contents of all files that a user reads."""
  found = {}
  for path in sorted(folder.rglob("*")):
    name = str(path.relative_to(folder))
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    if path.is_file() and not hidden and not name.endswith((".partial.jsonl", ".tmp")):
      found[name] = content(path)
  return found


def is_allowed(found, old, new) -> bool:
  """Return whether a state is the old one, the new one, or for lines a part of the new one."""
  for name in {*found, *old, *new}:
    value = found.get(name)
    if value in (old.get(name), new.get(name)):
      continue
    lines = name.endswith((".csv", ".jsonl")) and isinstance(value, bytes)
    if not (lines and new[name].startswith(value)):
      return False
  return True


def try_output(library, kind: str, old_rows: int) -> dict[str, int]:
  """Let each call of one output fail; return counts."""
  write, counts = OUTPUTS[kind], collections.Counter()
  with tempfile.TemporaryDirectory(prefix="faults-") as name:
    begin, folder = pathlib.Path(name) / "begin", pathlib.Path(name) / "now"
    begin.mkdir()
    if old_rows:
      write(begin, old_rows)
    old = state(begin)
    shutil.copytree(begin, folder)
    write(folder, 3)
    new = state(folder)
    for call, _ in enumerate(CALLS):
      for number in ERRORS:
        for at in range(1, MOST_CALLS):
          shutil.rmtree(folder)
          shutil.copytree(begin, folder)
          fault = ""
          library.arm(call, at, number)
          try:
            write(folder, 3)
          except (UserError, OSError):
            counts["reported"] += 1
          except Exception as error:
            fault = f"{type(error).__name__}: {error}"
          if not library.disarm():
            break
          counts["injected"] += 1
          found = state(folder)
          if not is_allowed(found, old, new):
            fault = fault or "neither old nor new"
          try:
            write(folder, 3)
            if state(folder) != new:
              fault = fault or "not completed by writing again"
          except Exception as error:
            fault = fault or f"writing again: {error}"
          if fault:
            counts["faults"] += 1
            print(f"{kind}, {CALLS[call]} {at}, {errno.errorcode[number]}: {fault}")
  return counts


def main(_):
  """Compile the library, start again with it, and print a table."""
  if not PRELOADED.value:
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
      (pathlib.Path(folder) / "faults.c").write_text(SOURCE)
      library = f"{folder}/faults.so"
      subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", library, f"{folder}/faults.c", "-ldl"], check=True
      )
      command = [sys.executable, "-m", "benchmarks.disk_faults", *sys.argv[1:]]
      return subprocess.run(
        [*command, f"--preloaded={library}"], env={**os.environ, "LD_PRELOAD": library}
      ).returncode
  library = ctypes.CDLL(PRELOADED.value)
  lines = [
    "| output | file before | injected errors | reported | faults |",
    "|---|---|---|---|---|",
  ]
  faults = 0
  for kind in OUTPUTS:
    for old_rows in (0, 2):
      counts = try_output(library, kind, old_rows)
      faults += counts["faults"]
      row = kind, "yes" if old_rows else "no", *(counts[n] for n in ("injected", "reported"))
      lines.append("| " + " | ".join(map(str, (*row, counts["faults"]))) + " |")
  text = "\n".join(lines) + "\n"
  print(text)
  if fuzz.INTO.value:
    note = "\n`python -m benchmarks.disk_faults`:\n\n"
    write_block(pathlib.Path(fuzz.INTO.value), "disk", note + text + "\n")
  return 1 if faults else 0


if __name__ == "__main__":
  command_line.run(main)
