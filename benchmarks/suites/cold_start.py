"""Start to answer of a one-file prediction, against what peers need to be imported."""

import os
import pathlib
import subprocess
import sys
import tempfile

from benchmarks.harness import ROOT, Contestant
from benchmarks.synthetic_audio import write_files

TITLE = "Cold start: `python -m genre_jax.predict FILE`, start to answer, second time on a machine"
TARGET = "at most 2 s; TensorFlow not imported; compilation cached on disk"
THREADS = ("all",)
# Runs the command in a process that then says what it imported.
IMPORTED = """
import runpy, sys
sys.argv = ["predict", sys.argv[1]]
try:
  runpy.run_module("genre_jax.predict", run_name="__main__")
except SystemExit as end:
  print("status", end.code or 0)
print("tensorflow", "tensorflow" in sys.modules)
"""


def command(*arguments: str):
  """A contestant that runs Python with these arguments; '{file}' is a FLAC file of 30 s."""

  def setup():
    root = pathlib.Path(tempfile.mkdtemp())
    write_files(root, "flac", 44100, channels=2, count=1, seconds=30.0)
    file = str(next(root.glob("*/*")))
    # A cache of its own, that the setup fills: what is timed is the second time on a machine.
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


CONTESTANTS = {
  "predict FILE": Contestant(
    "genre_jax", command("-m", "genre_jax.predict", "{file}"), role="ours"
  ),
  "import jax alone": Contestant("genre_jax", command("-c", "import jax"), role="floor"),
  "import numpy, scipy.signal, soundfile alone": Contestant(
    "genre_jax", command("-c", "import numpy, scipy.signal, soundfile"), role="floor"
  ),
  "import torch and librosa, nothing heard": Contestant(
    "peers", command("-c", "import torch, librosa; librosa.feature")
  ),
  "import tensorflow alone": Contestant("peers", command("-c", "import tensorflow")),
}


def remarks(outcomes) -> list[str]:
  """Whether TensorFlow was imported."""
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
