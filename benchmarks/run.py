"""Speed side by side with peers: `python -m benchmarks.run [--only=log_mel,...]`.

Measures each work of `benchmarks/suites` (see `turns.py`) and writes a table of it into --into,
between marks of its own, so that one can be done again alone. Asserts nothing.
"""

import importlib
import os
import pathlib
import pkgutil
import platform
import subprocess
import sys
import tempfile
import time
import types

from absl import flags, logging

import benchmarks.suites
from benchmarks.harness import Options
from benchmarks.interleaved import python_of, run_suite
from genre_jax import command_line
from genre_jax.errors import UserError
from genre_jax.files import write_block, write_whole
from genre_jax.training.workdir import git_commit

ONLY = flags.DEFINE_list("only", [], "Works to measure; all if empty.")
REPEATS = flags.DEFINE_integer("repeats", 9, "Turns of each contestant.", lower_bound=1)
INTO = flags.DEFINE_string("into", "benchmarks/RESULTS.md", "The page to write.")
RESUME = flags.DEFINE_bool(
  "resume", False, "Skip works that a run of the same commit has measured already."
)
LIMIT = flags.DEFINE_float("limit", 1800.0, "Seconds after which one answer counts as failed.")
CLIPS = flags.DEFINE_integer("clips", 10_000, "Clips prepared for the memory.")
HOURS = flags.DEFINE_float("hours", 10.0, "Hours of the file predicted for the memory.")
SCALE = flags.DEFINE_float("scale", 1.0, "Multiplies the sizes of growth; small for a trial.")

PACKAGES = {
  "genre_jax": ("jax", "numpy", "scipy", "tensorflow-cpu"),
  "peers": ("torch", "librosa", "essentia", "nnAudio", "tensorflow-cpu"),
  "onnx": ("onnxruntime",),
}


def machine() -> str:
  """What it was measured on, in a line."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    model = next(line for line in lines if line.startswith("model name")).split(":")[1].strip()
  except (OSError, StopIteration):
    model = platform.processor() or platform.machine()
  gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
  return (
    f"{model}, {len(os.sched_getaffinity(0))} cores, {gigabytes:.0f} GB,"
    f" {platform.system()} {platform.release()}, Python {platform.python_version()}"
  )


def versions() -> str:
  """Versions of what was compared, of each environment that is there."""
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


def write(path: pathlib.Path, name: str, block: str) -> None:
  """Puts a work's block on the page, which is made or gets a place for it where it has none."""
  begin = f"<!-- {name} -->\n"
  text = (
    path.read_text(encoding="utf-8")
    if path.exists()
    else (
      "# Speed, measured side by side\n\n`./run.sh bench` writes this page; only ratios of one run"
      " count. `NOTES.md` says what was tried.\n"
    )
  )
  if begin not in text:
    write_whole(path, f"{text}\n{begin}<!-- /{name} -->\n")
  write_block(path, name, block)


def measure(work: types.ModuleType, plots: pathlib.Path) -> str:
  """What a work gives, in Markdown; also where it fails."""
  if not hasattr(work, "report"):
    # Long works take fewer turns.
    repeats = min(REPEATS.value, getattr(work, "REPEATS", REPEATS.value))
    return run_suite(work, repeats, LIMIT.value) + f"\n{repeats} turns each.\n"
  with tempfile.TemporaryDirectory(prefix="genre_jax-bench-") as folder:
    try:
      body = work.report(
        Options(pathlib.Path(folder), plots, CLIPS.value, HOURS.value, SCALE.value, REPEATS.value)
      )
    except Exception as error:  # one work's failure stops no other
      body = f"Failed: {' '.join(f'{type(error).__name__}: {error}'.split())[:300]}\n"
  print(body, flush=True)
  return body


def main(argv: list[str]) -> None:
  """Measures what --only names."""
  if len(argv) > 1:
    raise UserError(f"unexpected argument {argv[1]!r}: flags begin with --")
  logging.set_verbosity(logging.WARNING)  # tensorflow-datasets tells of every file that it opens
  there = [found.name for found in pkgutil.iter_modules(benchmarks.suites.__path__)]
  if unknown := [name for name in ONLY.value if name not in there]:
    raise UserError(f"--only={unknown[0]}: there is no such work; there are {', '.join(there)}")
  into, commit = pathlib.Path(INTO.value), git_commit()
  if not into.parent.is_dir():
    raise UserError(f"--into={into}: there is no folder {into.parent}; make it first")
  environment = f"{machine()}. {versions()}"
  for name in ONLY.value or there:
    work = importlib.import_module(f"benchmarks.suites.{name}")
    if RESUME.value and into.exists():
      before = into.read_text().partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
      # The page itself makes a checkout dirty.
      if f"Commit {commit.removesuffix('-dirty')}" in before and "Failed:" not in before:
        print(f"{name}: measured before", flush=True)
        continue
    print(f"{name}: {work.TITLE}\n", flush=True)
    began, load = time.monotonic(), os.getloadavg()[0]
    body = measure(work, into.parent / "plots")
    tried = (
      f" Where it is missed, [NOTES.md](NOTES.md#{work.NOTES}) says what was tried, with"
      " figures, and why it stays."
      if hasattr(work, "NOTES")
      else ""
    )
    write(
      into,
      name,
      f"## {work.TITLE}\n\nTo reach: {work.TARGET}.{tried}\n\n{body}\n"
      f"Commit {commit}, load at the start {load:.1f}, {time.monotonic() - began:.0f} s."
      f" {environment}.\n",
    )
  print(f"written to {into}", file=sys.stderr)


if __name__ == "__main__":
  command_line.run(main)
