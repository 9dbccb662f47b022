"""Measure speed side by side with peers: `python -m benchmarks.run [--only=log_mel,...]`.

Runs each suite of `benchmarks/suites` (see `interleaved.py`) and writes its table to the page of
--into, between comment marks with the suite's name. One suite can therefore be measured again
alone. Asserts nothing.
"""

import importlib
import os
import pathlib
import pkgutil
import platform
import subprocess
import sys
import tempfile
import textwrap
import time
import types

from absl import flags, logging

import benchmarks.suites
from benchmarks.harness import Options, cores
from benchmarks.interleaved import python_of, run_suite
from genre_jax import command_line
from genre_jax.errors import UserError
from genre_jax.files import write_block, write_whole
from genre_jax.training.workdir import git_commit

ONLY = flags.DEFINE_list("only", [], "Suites to measure; all if empty.")
REPEATS = flags.DEFINE_integer("repeats", 9, "Interleaved runs of each contender.", lower_bound=1)
INTO = flags.DEFINE_string(
  "into", "docs/results/speed.md", "Page to write; plots go to plots/ beside it."
)
RESUME = flags.DEFINE_bool(
  "resume", False, "Skip suites that a run of the same commit has measured already."
)
COMMIT = flags.DEFINE_string("commit", "", "Commit that the page names; default: the checkout's.")
LIMIT = flags.DEFINE_float("limit", 1800.0, "Seconds after which a missing reply counts as failed.")
CLIPS = flags.DEFINE_integer("clips", 10_000, "Number of clips that the memory suite prepares.")
HOURS = flags.DEFINE_float("hours", 10.0, "Hours of the file that the memory suite predicts.")
DATA = flags.DEFINE_string("data", "", "Folder of gtzan; default: that in GENRE_JAX_DATA.")
SCALE = flags.DEFINE_float("scale", 1.0, "Factor on the sizes of the growth suites.")

PACKAGES = {
  "genre_jax": ("jax", "numpy", "scipy", "tensorflow-cpu"),
  "peers": ("torch", "librosa", "essentia", "nnAudio", "onnxruntime", "tensorflow-cpu"),
  "onnx": ("onnxruntime",),
}


def machine() -> str:
  """Return the machine in one line: processor, cores, memory, system, Python."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    model = next(line for line in lines if line.startswith("model name")).split(":")[1].strip()
  except (OSError, StopIteration):
    model = platform.processor() or platform.machine()
  gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
  return (
    f"{model}, {cores()} cores, {gigabytes:.0f} GB,"
    f" {platform.system()} {platform.release()}, Python {platform.python_version()}"
  )


def versions() -> str:
  """Return the versions of the compared packages, for each environment."""
  script = (
    "import importlib.metadata as m, sys\n"
    "for n in sys.argv[1:]:\n"
    "  try: print(n, m.version(n))\n"
    "  except m.PackageNotFoundError: print(n, 'absent')"
  )
  parts = []
  for environment, names in PACKAGES.items():
    try:
      done = subprocess.run(
        [python_of(environment), "-c", script, *names], capture_output=True, text=True, check=True
      )
      parts.append(f"{environment}: " + ", ".join(done.stdout.split("\n")[:-1]))
    except (UserError, subprocess.CalledProcessError):
      parts.append(f"{environment}: absent")
  return "; ".join(parts)


def wrap(text: str) -> str:
  """Return Markdown whose lines have at most 100 characters, tables, headings and images aside."""
  lines = []
  for line in text.splitlines():
    if len(line) > 100 and not line.startswith(("|", "#", "!")):
      indent = "  " if line.startswith("- ") else ""
      line = textwrap.fill(
        line, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
      )
    lines.append(line)
  return "\n".join(lines) + "\n"


def write(path: pathlib.Path, name: str, block: str) -> None:
  """Write a suite's block to the page; create the page and the block's marks if absent.

  Args:
    path: the page.
    name: name of the suite.
    block: Markdown.
  """
  begin = f"<!-- {name} -->\n"
  text = (
    path.read_text(encoding="utf-8")
    if path.exists()
    else (
      "# Speed, measured side by side\n\n`./run.sh bench` writes this page. Only ratios within one"
      " run are comparable. [Speed notes](speed-notes.md) lists what was tried.\n"
    )
  )
  if begin not in text:
    write_whole(path, f"{text}\n{begin}<!-- /{name} -->\n")
  write_block(path, name, wrap(block))


def measure(suite: types.ModuleType, plots: pathlib.Path) -> str:
  """Run a suite and return its results as Markdown, or the reason of its failure.

  Args:
    suite: module of `benchmarks/suites`.
    plots: folder of the PNG files.
  """
  if not hasattr(suite, "report"):
    repeats = min(REPEATS.value, getattr(suite, "REPEATS", REPEATS.value))
    return run_suite(suite, repeats, LIMIT.value) + f"\n{repeats} interleaved runs each.\n"
  with tempfile.TemporaryDirectory(prefix="genre_jax-bench-") as folder:
    try:
      body = suite.report(
        Options(
          pathlib.Path(folder),
          plots,
          CLIPS.value,
          HOURS.value,
          SCALE.value,
          REPEATS.value,
          DATA.value,
        )
      )
    except Exception as error:  # a failing suite must not stop the others
      body = f"Failed: {' '.join(f'{type(error).__name__}: {error}'.split())[:300]}\n"
  print(body, flush=True)
  return body


def main(argv: list[str]) -> None:
  """Measure the suites of --only and write the page."""
  if len(argv) > 1:
    raise UserError(f"unexpected argument {argv[1]!r}: flags begin with --")
  logging.set_verbosity(logging.WARNING)  # tensorflow-datasets logs every file that it opens
  names = [found.name for found in pkgutil.iter_modules(benchmarks.suites.__path__)]
  if unknown := [name for name in ONLY.value if name not in names]:
    raise UserError(f"--only={unknown[0]}: there is no such suite; choose from {', '.join(names)}")
  into, commit = pathlib.Path(INTO.value), COMMIT.value or git_commit()
  if not into.parent.is_dir():
    raise UserError(f"--into={into}: there is no folder {into.parent}; create it first")
  chosen = ONLY.value or names
  if len(chosen) > 1:
    # A process each: the SQLite of TensorFlow would hide that of Python, and memory adds up.
    program = [sys.executable, "-m", "benchmarks.run", *sys.argv[1:], f"--commit={commit}"]
    ended = [subprocess.run([*program, f"--only={name}"]).returncode for name in chosen]
    if failed := [name for name, status in zip(chosen, ended, strict=True) if status]:
      raise UserError(f"not measured: {', '.join(failed)}; --resume measures them alone")
    return
  environment = f"{machine()}. {versions()}"
  for name in chosen:
    suite = importlib.import_module(f"benchmarks.suites.{name}")
    if RESUME.value and into.exists():
      before = into.read_text().partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
      # Writing the page makes a checkout dirty.
      if f"Commit {commit.removesuffix('-dirty')}" in before and "failed" not in before.lower():
        print(f"{name}: measured already", flush=True)
        continue
    print(f"{name}: {suite.TITLE}\n", flush=True)
    began, load = time.monotonic(), os.getloadavg()[0]
    body = measure(suite, into.parent / "plots")
    tried = (
      f" If it is missed, the [speed notes](speed-notes.md#{suite.NOTES}) list what was tried,"
      " with measurements, and why it stays so."
      if hasattr(suite, "NOTES")
      else ""
    )
    write(
      into,
      name,
      f"## {suite.TITLE}\n\nTarget: {suite.TARGET}.{tried}\n\n{body}\n"
      f"Commit {commit}, load at the start {load:.1f}, {time.monotonic() - began:.0f} s."
      f" {environment}.\n",
    )
  print(f"written to {into}", file=sys.stderr)


if __name__ == "__main__":
  command_line.run(main)
