"""Compare contenders in separate processes: outputs first, then interleaved runs (A B A B).

Used by `run.py`. Interleaved runs make ratios reliable on a machine with other load, because the
load affects all contenders alike. A contender that fails becomes a row with its reason.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import types
from typing import Any

import numpy as np

from benchmarks.harness import ENVIRONMENTS, ROOT, Outcome, cores, format_ratio
from genre_jax.errors import UserError

RUN_SECONDS = 0.1  # approximate least length of a run: short tasks are called several times
LONG_SECONDS = 5.0  # of a first call that needs no second one before it is timed
PAUSE_SECONDS = 0.05  # between runs, until threads that wait busily have gone to sleep


class Worker:
  """The process of one contender.

  Args:
    suite: module name of the contender's suite.
    name: key of the contender in CONTENDERS.
    environment: a key of ENVIRONMENTS.
    threads: 'one' restricts it to one core.
    limit: seconds after which a missing reply counts as failed.
    folder: for its temporary files; the caller deletes it.
  """

  def __init__(
    self, suite: str, name: str, environment: str, threads: str, limit: float, folder: str
  ):
    self._limit = limit
    python = python_of(environment)
    count = "1" if threads == "one" else str(cores())
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    self._errors = tempfile.TemporaryFile()
    self._process = subprocess.Popen(
      [python, "-m", "benchmarks.worker", suite, name, threads],
      cwd=ROOT,
      bufsize=0,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._errors,
      start_new_session=True,
      env={
        **os.environ,
        **dict.fromkeys(names, count),
        "TMPDIR": folder,
        "TF_CPP_MIN_LOG_LEVEL": "2",
      },
    )
    self._pending = b""

  def request(self, **fields: Any) -> dict[str, Any]:
    """Send a request and return the reply, or {'error': reason}."""
    try:
      self._process.stdin.write(json.dumps(fields).encode() + b"\n")
      until = time.monotonic() + self._limit
      while b"\n" not in self._pending:
        left = until - time.monotonic()
        if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
          return {"error": f"no reply within {self._limit:.0f} s"}
        received = os.read(self._process.stdout.fileno(), 1 << 16)
        if not received:
          return {"error": self._exit_reason()}
        self._pending += received
    except BrokenPipeError:
      return {"error": self._exit_reason()}
    line, self._pending = self._pending.split(b"\n", 1)
    return json.loads(line)

  def _exit_reason(self) -> str:
    """Return how the process ended, with the last line that it wrote."""
    status = self._process.wait()
    self._errors.seek(0)
    lines = self._errors.read().decode(errors="replace").strip().splitlines()
    return f"its process ended with status {status}" + (f": {lines[-1][:200]}" if lines else "")

  def close(self) -> None:
    """End the process and its children."""
    with contextlib.suppress(ProcessLookupError):
      os.killpg(self._process.pid, signal.SIGKILL)
    self._process.wait()
    for stream in (self._process.stdin, self._process.stdout, self._errors):
      stream.close()


def python_of(environment: str) -> str:
  """Return the path of an environment's Python.

  Raises:
    UserError: If the environment is absent.
  """
  path = ROOT / ENVIRONMENTS[environment] / "bin" / "python"
  if not path.exists():
    raise UserError(f"{ENVIRONMENTS[environment]} is absent; ./run.sh bench installs it")
  return str(path)


def measure(
  suite: types.ModuleType, case: str, threads: str, repeats: int, limit: float
) -> Outcome:
  """Compare the contenders of one case: outputs first, then times of interleaved runs.

  Args:
    suite: module of `benchmarks/suites`.
    case: case of the contenders.
    threads: 'one' or 'all'.
    repeats: number of runs of each contender.
    limit: seconds after which a contender that does not reply has failed.
  """
  outcome, workers, outputs, calls, replies = Outcome(), {}, {}, {}, {}
  contenders = {name: one for name, one in suite.CONTENDERS.items() if one.case == case}
  with tempfile.TemporaryDirectory(prefix="genre_jax-bench-") as folder:
    try:
      for number, (name, one) in enumerate(contenders.items()):
        outcome.roles[name] = one.role
        path = os.path.join(folder, f"{number}.npy")
        _progress(f"{name}: setting up")
        try:
          workers[name] = Worker(suite.__name__, name, one.environment, threads, limit, folder)
        except UserError as error:
          outcome.failures[name] = str(error)
          continue
        replies[name] = reply = workers[name].request(do="setup", output=path)
        if "error" in reply:
          outcome.failures[name] = reply["error"]
        elif reply["output"]:
          outputs[name] = np.load(path)
      _compare(contenders, outputs, outcome)
      for name in outcome.failures.keys() & workers.keys():
        workers.pop(name).close()
      for name, worker in workers.items():  # a warm call determines the number of calls per run
        reply = replies[name]
        if reply["seconds"] < LONG_SECONDS:
          reply = worker.request(do="time", calls=1)
        calls[name] = max(1, round(RUN_SECONDS / max(reply.get("seconds", 1.0), 1e-6)))
      for number in range(repeats):
        for name in list(workers):
          _progress(f"{name}: run {number + 1} of {repeats}")
          time.sleep(PAUSE_SECONDS)
          reply = workers[name].request(do="time", calls=calls[name])
          if "error" in reply:
            outcome.failures[name] = reply["error"]
            outcome.times.pop(name, None)
            workers.pop(name).close()
          else:
            outcome.times.setdefault(name, []).append(reply["seconds"])
    finally:
      for worker in workers.values():
        worker.close()
      _progress("")
  return outcome


def _progress(text: str) -> None:
  """Print the progress if standard error is a terminal."""
  if sys.stderr.isatty():
    print(f"\r{text:78.78}\r", end="", file=sys.stderr, flush=True)


def _compare(contenders, outputs, outcome: Outcome) -> None:
  """Record differences from our first output; a contender beyond its tolerance has failed."""
  first = next((name for name in outputs if contenders[name].role == "ours"), None)
  for name, one in contenders.items():
    if first is None or name not in outputs or name == first:
      continue
    if outputs[name].shape != outputs[first].shape:
      outcome.failures[name] = (
        f"its output has shape {outputs[name].shape}, ours {outputs[first].shape}"
      )
      continue
    difference = float(np.max(np.abs(outputs[name].astype(np.float64) - outputs[first])))
    outcome.differences[name] = difference
    if not difference <= one.tolerance:
      outcome.failures[name] = (
        f"disagrees: largest difference {difference:.2g}, allowed {one.tolerance:.2g}"
      )


def table(outcome: Outcome) -> str:
  """Return the outcome of one comparison as a Markdown table."""
  peer, ours = outcome.best("peer"), outcome.first_of_ours()
  lines = [
    "| contender | median | quartiles | time / best peer's | time / ours | largest difference |",
    "|---|---|---|---|---|---|",
  ]
  for name, role in outcome.roles.items():
    label = {"ours": f"**{name}**", "floor": f"*{name}*"}.get(role, name)
    difference = outcome.differences.get(name)
    visible = "" if difference is None else f"{difference:.1e}"
    if name in outcome.failures:
      lines.append(
        f"| {label} | failed | {outcome.failures[name].replace('|', '/')} | | | {visible} |"
      )
      continue
    low, median, high = np.percentile(outcome.times[name], (25, 50, 75))
    ratios = []
    for other in (peer, ours):
      ratio = outcome.ratio(name, other) if other else None
      ratios.append("" if ratio is None else format_ratio(ratio))
    unit, scale, digits = _unit(median)
    lines.append(
      f"| {label} | {median * scale:.{digits}f} {unit} | {low * scale:.{digits}f} to "
      f"{high * scale:.{digits}f} | {' | '.join(ratios)} | {visible} |"
    )
  return "\n".join(lines) + "\n"


def _unit(seconds: float) -> tuple[str, float, int]:
  """Return the unit, factor and number of digits for a time."""
  if seconds < 1:
    return "ms", 1e3, 2 if seconds < 0.1 else 0
  return "s", 1.0, 2


def run_suite(suite: types.ModuleType, repeats: int, limit: float) -> str:
  """Run all comparisons of a suite and return Markdown, with the suite's remarks.

  Args:
    suite: module of `benchmarks/suites` with CONTENDERS.
    repeats: number of interleaved runs of each contender.
    limit: seconds after which a contender that does not reply has failed.
  """
  outcomes, parts = {}, []
  for case in dict.fromkeys(one.case for one in suite.CONTENDERS.values()):
    for threads in suite.THREADS:
      outcome = outcomes[case, threads] = measure(suite, case, threads, repeats, limit)
      heading = {"one": "one core", "all": f"{cores()} cores"}[threads]
      parts.append(f"{case + ', ' if case else ''}{heading}:\n\n{table(outcome)}")
      print(parts[-1], flush=True)
  remarks = suite.remarks(outcomes) if hasattr(suite, "remarks") else []
  if remarks:
    parts.append("\n".join(f"- {line}" for line in remarks) + "\n")
    print(parts[-1], flush=True)
  return "\n".join(parts)
