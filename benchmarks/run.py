"""Speed side by side with peers: `python -m benchmarks.run [--only=log_mel,...]`.

For each work of `benchmarks/works`: a process for each contestant, in the Python of its
environment; their outputs are compared; then they take turns, A B A B, so that whatever else the
machine does falls on all of them. Writes a table for each work into --into, between marks of its
own, so that one can be done again alone. Asserts nothing; a contestant that fails is a row with its
reason.
"""

import importlib
import json
import os
import pathlib
import pkgutil
import platform
import select
import subprocess
import sys
import tempfile
import time
import types
from typing import Any

import numpy as np
from absl import flags

import benchmarks.works
from benchmarks.contest import ENVIRONMENTS, ROOT, Options, Outcome
from genre_jax import command_line
from genre_jax.errors import UserError
from genre_jax.files import write_block, write_whole
from genre_jax.training.records import git_commit

ONLY = flags.DEFINE_list("only", [], "Works to measure; all if empty.")
REPEATS = flags.DEFINE_integer("repeats", 9, "Turns of each contestant.", lower_bound=1)
INTO = flags.DEFINE_string("into", "benchmarks/RESULTS.md", "The page to write.")
RESUME = flags.DEFINE_bool(
  "resume", False, "Skip works that a run of the same commit has measured already.")
LIMIT = flags.DEFINE_float("limit", 1800.0, "Seconds after which one answer counts as failed.")
CLIPS = flags.DEFINE_integer("clips", 10_000, "Clips prepared for the memory.")
HOURS = flags.DEFINE_float("hours", 10.0, "Hours of the file predicted for the memory.")
SCALE = flags.DEFINE_float("scale", 1.0, "Multiplies the sizes of growth; small for a trial.")

TURN_SECONDS = 0.1  # a turn is at least about so long: short works are called several times
PAUSE_SECONDS = 0.05  # between turns, until threads that wait busily have gone to sleep
PACKAGES = {
  "genre_jax": ("jax", "numpy", "scipy", "tensorflow-cpu"),
  "peers": ("torch", "librosa", "essentia", "nnAudio", "tensorflow-cpu"),
  "onnx": ("onnxruntime",)}


class Worker:
  """A contestant's process.

  Args:
    work: module of the contestant.
    name: of the contestant.
    environment: a name of ENVIRONMENTS.
    threads: 'one' keeps it on one core.
  """

  def __init__(self, work: str, name: str, environment: str, threads: str):
    python = python_of(environment)
    core = min(os.sched_getaffinity(0))

    def pin():
      if threads == "one":
        os.sched_setaffinity(0, {core})

    count = "1" if threads == "one" else str(len(os.sched_getaffinity(0)))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    self._errors = tempfile.TemporaryFile()
    self._process = subprocess.Popen(
      [python, "-m", "benchmarks.worker", work, name], cwd=ROOT, preexec_fn=pin, bufsize=0,
      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
      env={**os.environ, **dict.fromkeys(names, count), "TF_CPP_MIN_LOG_LEVEL": "2"})
    self._pending = b""

  def ask(self, **request: Any) -> dict[str, Any]:
    """Sends a request; the answer, or {'error': reason}."""
    try:
      self._process.stdin.write(json.dumps(request).encode() + b"\n")
      until = time.monotonic() + LIMIT.value
      while b"\n" not in self._pending:
        left = until - time.monotonic()
        if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
          return {"error": f"no answer in {LIMIT.value:.0f} s"}
        received = os.read(self._process.stdout.fileno(), 1 << 16)
        if not received:
          return {"error": self._last_words()}
        self._pending += received
    except BrokenPipeError:
      return {"error": self._last_words()}
    line, self._pending = self._pending.split(b"\n", 1)
    return json.loads(line)

  def _last_words(self) -> str:
    """How the process ended, with the last line that it wrote."""
    status = self._process.wait()
    self._errors.seek(0)
    lines = self._errors.read().decode(errors="replace").strip().splitlines()
    return f"its process ended with status {status}" + (f": {lines[-1][:200]}" if lines else "")

  def close(self) -> None:
    """Ends the process."""
    self._process.kill()
    self._process.wait()
    for stream in (self._process.stdin, self._process.stdout, self._errors):
      stream.close()


def python_of(environment: str) -> str:
  """The Python of an environment.

  Raises:
    UserError: where it is absent.
  """
  path = ROOT / ENVIRONMENTS[environment] / "bin" / "python"
  if not path.exists():
    raise UserError(f"{ENVIRONMENTS[environment]} is absent; ./run.sh bench installs it")
  return str(path)


def measure(work: types.ModuleType, case: str, threads: str, repeats: int) -> Outcome:
  """One contest: agreement first, then turns."""
  outcome, workers, outputs, calls = Outcome(), {}, {}, {}
  contestants = {name: one for name, one in work.CONTESTANTS.items() if one.case == case}
  with tempfile.TemporaryDirectory(prefix="genre_jax-bench-") as folder:
    try:
      for number, (name, one) in enumerate(contestants.items()):
        outcome.roles[name] = one.role
        path = os.path.join(folder, f"{number}.npy")
        _progress(f"{name}: setting up")
        try:
          workers[name] = Worker(work.__name__, name, one.environment, threads)
        except UserError as error:
          outcome.failures[name] = str(error)
          continue
        answer = workers[name].ask(do="setup", output=path)
        if "error" in answer:
          outcome.failures[name] = answer["error"]
        elif answer["output"]:
          outputs[name] = np.load(path)
      _compare(contestants, outputs, outcome)
      for name in outcome.failures.keys() & workers.keys():
        workers.pop(name).close()
      for name, worker in workers.items():  # once more, warm: how often a turn calls it
        answer = worker.ask(do="time", calls=1)
        calls[name] = max(1, round(TURN_SECONDS / max(answer.get("seconds", 1.0), 1e-6)))
      for turn in range(repeats):
        for name in list(workers):
          _progress(f"{name}: turn {turn + 1} of {repeats}")
          time.sleep(PAUSE_SECONDS)
          answer = workers[name].ask(do="time", calls=calls[name])
          if "error" in answer:
            outcome.failures[name] = answer["error"]
            outcome.times.pop(name, None)
            workers.pop(name).close()
          else:
            outcome.times.setdefault(name, []).append(answer["seconds"])
    finally:
      for worker in workers.values():
        worker.close()
      _progress("")
  return outcome


def _progress(text: str) -> None:
  """Where the run is, on a terminal."""
  if sys.stderr.isatty():
    print(f"\r{text:78.78}\r", end="", file=sys.stderr, flush=True)


def _compare(contestants, outputs, outcome: Outcome) -> None:
  """Differences from our first output; who is beyond the tolerance has failed."""
  first = next((name for name in outputs if contestants[name].role == "ours"), None)
  for name, one in contestants.items():
    if first is None or name not in outputs or name == first:
      continue
    if outputs[name].shape != outputs[first].shape:
      outcome.failures[name] = (f"its output has shape {outputs[name].shape}, ours"
                                f" {outputs[first].shape}")
      continue
    difference = float(np.max(np.abs(outputs[name].astype(np.float64) - outputs[first])))
    outcome.differences[name] = difference
    if not difference <= one.tolerance:
      outcome.failures[name] = (f"disagrees: largest difference {difference:.2g}, allowed"
                                f" {one.tolerance:.2g}")


def table(outcome: Outcome) -> str:
  """A contest in Markdown."""
  peer, ours = outcome.best("peer"), outcome.best("ours")
  lines = ["| contestant | median | quartiles | time / best peer's | time / ours "
           "| largest difference |", "|---|---|---|---|---|---|"]
  for name, role in outcome.roles.items():
    label = {"ours": f"**{name}**", "floor": f"*{name}*"}.get(role, name)
    difference = outcome.differences.get(name)
    shown = "" if difference is None else f"{difference:.1e}"
    if name in outcome.failures:
      lines.append(f"| {label} | failed | {outcome.failures[name].replace('|', '/')} | | "
                   f"| {shown} |")
      continue
    low, median, high = np.percentile(outcome.times[name], (25, 50, 75))
    ratios = []
    for other in (peer, ours):
      ratio = outcome.ratio(name, other) if other else None
      ratios.append("" if ratio is None else f"{ratio[1]:.2f} [{ratio[0]:.2f}, {ratio[2]:.2f}]")
    unit, scale, digits = _unit(median)
    lines.append(f"| {label} | {median * scale:.{digits}f} {unit} | {low * scale:.{digits}f} to "
                 f"{high * scale:.{digits}f} | {' | '.join(ratios)} | {shown} |")
  return "\n".join(lines) + "\n"


def _unit(seconds: float) -> tuple[str, float, int]:
  """Unit, factor and digits that a time is shown with."""
  if seconds < 1:
    return "ms", 1e3, 2 if seconds < 0.1 else 0
  return "s", 1.0, 2


def contests(work: types.ModuleType, repeats: int) -> str:
  """All contests of a work in Markdown, with its remarks."""
  outcomes, parts = {}, []
  for case in dict.fromkeys(one.case for one in work.CONTESTANTS.values()):
    for threads in work.THREADS:
      outcome = outcomes[case, threads] = measure(work, case, threads, repeats)
      heading = {"one": "one core", "all": f"{len(os.sched_getaffinity(0))} cores"}[threads]
      parts.append(f"{case + ', ' if case else ''}{heading}:\n\n{table(outcome)}")
      print(parts[-1], flush=True)
  remarks = work.remarks(outcomes) if hasattr(work, "remarks") else []
  return "\n".join(parts + (["\n".join(f"- {line}" for line in remarks) + "\n"] if remarks else []))


def machine() -> str:
  """What it was measured on, in a line."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    model = next(line for line in lines if line.startswith("model name")).split(":")[1].strip()
  except (OSError, StopIteration):
    model = platform.processor() or platform.machine()
  gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
  return (f"{model}, {len(os.sched_getaffinity(0))} cores, {gigabytes:.0f} GB,"
          f" {platform.system()} {platform.release()}, Python {platform.python_version()}")


def versions() -> str:
  """Versions of what was compared, of each environment that is there."""
  script = ("import importlib.metadata as m, sys\n"
            "for n in sys.argv[1:]:\n"
            "  try: print(n, m.version(n))\n"
            "  except m.PackageNotFoundError: print(n, 'absent')")
  parts = []
  for environment, names in PACKAGES.items():
    try:
      done = subprocess.run([python_of(environment), "-c", script, *names], capture_output=True,
                            text=True, check=True)
      parts.append(f"{environment}: " + ", ".join(done.stdout.split("\n")[:-1]))
    except (UserError, subprocess.CalledProcessError):
      parts.append(f"{environment}: absent")
  return "; ".join(parts)


def write(path: pathlib.Path, name: str, block: str) -> None:
  """Puts a work's block on the page, which is made or gets a place for it where it has none."""
  begin = f"<!-- {name} -->\n"
  text = path.read_text(encoding="utf-8") if path.exists() else (
    "# Speed, measured side by side\n\n`./run.sh bench` writes this page; only ratios of one run"
    " count. `NOTES.md` says what was tried.\n")
  if begin not in text:
    write_whole(path, f"{text}\n{begin}<!-- /{name} -->\n")
  write_block(path, name, block)


def _stamp(repeats: int) -> str:
  """How a block says what it was measured of; --resume looks for it."""
  return f"Commit {git_commit()}, {repeats} turns"


def main(argv: list[str]) -> None:
  """Measures what --only names."""
  if len(argv) > 1:
    raise UserError(f"unexpected argument {argv[1]!r}: flags begin with --")
  there = [found.name for found in pkgutil.iter_modules(benchmarks.works.__path__)]
  if unknown := [name for name in ONLY.value if name not in there]:
    raise UserError(f"--only={unknown[0]}: there is no such work; there are {', '.join(there)}")
  into, stamp = pathlib.Path(INTO.value), _stamp(REPEATS.value)
  about = f"{machine()}. {versions()}"
  for name in ONLY.value or there:
    work = importlib.import_module(f"benchmarks.works.{name}")
    if RESUME.value and into.exists():
      before = into.read_text().partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
      if stamp in before:
        print(f"{name}: measured before", flush=True)
        continue
    print(f"{name}: {work.TITLE}\n", flush=True)
    began, load = time.monotonic(), os.getloadavg()[0]
    if hasattr(work, "report"):
      with tempfile.TemporaryDirectory(prefix="genre_jax-bench-") as folder:
        plots = into.parent / "plots"
        body = work.report(Options(pathlib.Path(folder), plots, CLIPS.value, HOURS.value,
                                   SCALE.value, REPEATS.value))
      print(body, flush=True)
    else:
      body = contests(work, REPEATS.value)
    write(into, name, f"## {work.TITLE}\n\nTo reach: {work.TARGET}\n\n{body}\n{stamp}, load at the"
          f" start {load:.1f}, {time.monotonic() - began:.0f} s. {about}.\n")
  print(f"written to {into}", file=sys.stderr)


if __name__ == "__main__":
  command_line.run(main)
