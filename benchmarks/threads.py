"""Count the threads that compute while files are predicted.

Usage: `python -m benchmarks.threads FOLDER [--workers=2] [--model=default]`

Runs `predict --workers=N` on a folder of songs, and every 10 ms counts the threads of all its
processes that run or wait for a core, once the first file is done. Prints the share of each number.
"""

import collections
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from absl import flags

from benchmarks.process_memory import descendants
from genre_jax import command_line
from genre_jax.errors import UserError

WORKERS = flags.DEFINE_integer("workers", 2, "As of `predict`.", lower_bound=1)
MODEL = flags.DEFINE_string("model", "default", "As of `predict`.")
INTERVAL = 0.01  # seconds


def running(pid: int) -> int:
  """Return the number of threads of a process and its descendants that run or wait for a core."""
  count = 0
  for process in (pid, *descendants(pid)):
    for stat in pathlib.Path(f"/proc/{process}/task").glob("*/stat"):
      try:  # the state is behind the name, which is in parentheses
        count += stat.read_text().rpartition(")")[2].split()[0] == "R"
      except OSError:  # it has just ended
        pass
  return count


def main(argv: list[str]) -> None:
  """Predict, count, and print."""
  if len(argv) != 2:
    raise UserError("give one folder of songs")
  command = [sys.executable, "-m", "genre_jax.predict", argv[1], "--format=csv"]
  command += [f"--workers={WORKERS.value}", f"--model={MODEL.value}"]
  counts: collections.Counter[int] = collections.Counter()
  begun = None
  with (
    tempfile.TemporaryFile() as output,
    subprocess.Popen(command, stdout=output) as process,
  ):
    while process.poll() is None:
      if begun:
        counts[running(process.pid)] += 1
      elif os.pread(output.fileno(), 1 << 16, 0).count(b"\n") > 1:  # the header and the first file
        begun = time.monotonic()
      time.sleep(INTERVAL)
  if not counts:
    raise UserError(f"{argv[1]}: too few songs to count")
  print(f"{time.monotonic() - begun:.0f} s, {counts.total()} counts")
  for number, count in sorted(counts.items()):
    print(f"{number} threads: {100 * count / counts.total():.1f} %")


if __name__ == "__main__":
  command_line.run(main)
