"""Time from start to prediction of one file, against the time to import the peers."""

import os
import pathlib
import subprocess
import sys
import tempfile

from benchmarks.harness import ROOT, Contender
from benchmarks.synthetic_audio import write_files

TITLE = (
  "Cold start: `python -m genre_jax.predict FILE`, start to prediction, second run on a machine"
)
TARGET = "at most 1 s; TensorFlow not imported; compilation cached on disk"
NOTES = "cold-start"
THREADS = ("all",)
REPEATS = 5
# Runs the command in a process that then prints whether it imported TensorFlow.
IMPORTED = """
import runpy, sys
sys.argv = ["predict", sys.argv[1]]
try:
  runpy.run_module("genre_jax.predict", run_name="__main__")
except SystemExit as end:
  print("status", end.code or 0)
print("tensorflow", "tensorflow" in sys.modules)
"""

ADDITION = "import jax, flax.linen, av; jax.jit(lambda x: x + 1)(1.0)"


def command(*arguments: str):
  """Return the setup of a contender that runs Python with these arguments.

  Args:
    *arguments: of Python; '{file}' becomes the path of a FLAC file of 30 s.
  """

  def setup():
    root = pathlib.Path(tempfile.mkdtemp())
    write_files(root, "flac", 44100, channels=2, count=1, seconds=30.0)
    file = str(next(root.glob("*/*")))
    # The setup fills a separate cache, so that the timed runs are like the second on a machine.
    environment = {**os.environ, "XDG_CACHE_HOME": str(root / "cache")}

    def run():
      done = subprocess.run(
        [sys.executable, *(argument.format(file=file) for argument in arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
      )
      if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])

    run()
    return run

  return setup


CONTENDERS = {
  "predict FILE": Contender("genre_jax", command("-m", "genre_jax.predict", "{file}"), role="ours"),
  "import jax alone": Contender("genre_jax", command("-c", "import jax"), role="floor"),
  "import jax, flax, av and add two numbers": Contender(
    "genre_jax", command("-c", ADDITION), role="floor"
  ),
  "import torch and librosa alone": Contender(
    "peers", command("-c", "import torch, librosa; librosa.feature")
  ),
  "import tensorflow alone": Contender("peers", command("-c", "import tensorflow")),
}


def remarks(outcomes) -> list[str]:
  """Return a line that states whether TensorFlow was imported."""
  with tempfile.TemporaryDirectory(prefix="genre_jax-bench-") as folder:
    root = pathlib.Path(folder)
    write_files(root, "flac", 44100, channels=2, count=1, seconds=30.0)
    done = subprocess.run(
      [sys.executable, "-c", IMPORTED, str(next(root.glob("*/*")))],
      cwd=ROOT,
      capture_output=True,
      text=True,
    )
  last = done.stdout.strip().splitlines()[-1:] or [done.stderr.strip()[-100:]]
  return [
    "TensorFlow imported: "
    + {"tensorflow False": "no", "tensorflow True": "yes"}.get(last[0], last[0])
  ]
