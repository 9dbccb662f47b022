"""Contestants in processes of their own: their outputs compared, then turns, A B A B.

Used by `run.py`. The turns are what makes ratios good on a machine that does other things as well:
they fall on all contestants. One that fails is a row with its reason.
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

from benchmarks.harness import ENVIRONMENTS, ROOT, Outcome
from genre_jax.errors import UserError

TURN_SECONDS = 0.1  # a turn is at least about so long: short works are called several times
PAUSE_SECONDS = 0.05  # between turns, until threads that wait busily have gone to sleep


class Worker:
  """A contestant's process.

  Args:
    work: module of the contestant.
    name: of the contestant.
    environment: a name of ENVIRONMENTS.
    threads: 'one' keeps it on one core.
    limit: seconds after which an answer is not waited for any longer.
    folder: for its temporary files, which are left to whoever deletes the folder.
  """

  def __init__(
    self, work: str, name: str, environment: str, threads: str, limit: float, folder: str
  ):
    self._limit = limit
    python = python_of(environment)
    count = "1" if threads == "one" else str(len(os.sched_getaffinity(0)))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    self._errors = tempfile.TemporaryFile()
    self._process = subprocess.Popen(
      [python, "-m", "benchmarks.worker", work, name, threads],
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

  def ask(self, **request: Any) -> dict[str, Any]:
    """Sends a request; the answer, or {'error': reason}."""
    try:
      self._process.stdin.write(json.dumps(request).encode() + b"\n")
      until = time.monotonic() + self._limit
      while b"\n" not in self._pending:
        left = until - time.monotonic()
        if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
          return {"error": f"no answer in {self._limit:.0f} s"}
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
    """Ends the process and what it started."""
    with contextlib.suppress(ProcessLookupError):
      os.killpg(self._process.pid, signal.SIGKILL)
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


def measure(work: types.ModuleType, case: str, threads: str, repeats: int, limit: float) -> Outcome:
  """One contest: agreement first, then turns.

  Args:
    work: the module.
    case: of its contestants.
    threads: 'one' or 'all'.
    repeats: turns of each.
    limit: seconds after which a contestant that does not answer has failed.
  """
  outcome, workers, outputs, calls = Outcome(), {}, {}, {}
  contestants = {name: one for name, one in work.CONTESTANTS.items() if one.case == case}
  with tempfile.TemporaryDirectory(prefix="genre_jax-bench-") as folder:
    try:
      for number, (name, one) in enumerate(contestants.items()):
        outcome.roles[name] = one.role
        path = os.path.join(folder, f"{number}.npy")
        _progress(f"{name}: setting up")
        try:
          workers[name] = Worker(work.__name__, name, one.environment, threads, limit, folder)
        except UserError as error:
          outcome.failures[name] = str(error)
          continue
        prediction = workers[name].ask(do="setup", output=path)
        if "error" in prediction:
          outcome.failures[name] = prediction["error"]
        elif prediction["output"]:
          outputs[name] = np.load(path)
      _compare(contestants, outputs, outcome)
      for name in outcome.failures.keys() & workers.keys():
        workers.pop(name).close()
      for name, worker in workers.items():  # once more, warm: how often a turn calls it
        prediction = worker.ask(do="time", calls=1)
        calls[name] = max(1, round(TURN_SECONDS / max(prediction.get("seconds", 1.0), 1e-6)))
      for turn in range(repeats):
        for name in list(workers):
          _progress(f"{name}: turn {turn + 1} of {repeats}")
          time.sleep(PAUSE_SECONDS)
          prediction = workers[name].ask(do="time", calls=calls[name])
          if "error" in prediction:
            outcome.failures[name] = prediction["error"]
            outcome.times.pop(name, None)
            workers.pop(name).close()
          else:
            outcome.times.setdefault(name, []).append(prediction["seconds"])
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
  """A contest in Markdown."""
  peer, ours = outcome.best("peer"), outcome.first_of_ours()
  lines = [
    "| contestant | median | quartiles | time / best peer's | time / ours | largest difference |",
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
      ratios.append("" if ratio is None else f"{ratio[1]:.2f} [{ratio[0]:.2f}, {ratio[2]:.2f}]")
    unit, scale, digits = _unit(median)
    lines.append(
      f"| {label} | {median * scale:.{digits}f} {unit} | {low * scale:.{digits}f} to "
      f"{high * scale:.{digits}f} | {' | '.join(ratios)} | {visible} |"
    )
  return "\n".join(lines) + "\n"


def _unit(seconds: float) -> tuple[str, float, int]:
  """Unit, factor and digits that a time is shown with."""
  if seconds < 1:
    return "ms", 1e3, 2 if seconds < 0.1 else 0
  return "s", 1.0, 2


def run_suite(work: types.ModuleType, repeats: int, limit: float) -> str:
  """All contests of a work in Markdown, with its remarks."""
  outcomes, parts = {}, []
  for case in dict.fromkeys(one.case for one in work.CONTESTANTS.values()):
    for threads in work.THREADS:
      outcome = outcomes[case, threads] = measure(work, case, threads, repeats, limit)
      heading = {"one": "one core", "all": f"{len(os.sched_getaffinity(0))} cores"}[threads]
      parts.append(f"{case + ', ' if case else ''}{heading}:\n\n{table(outcome)}")
      print(parts[-1], flush=True)
  remarks = work.remarks(outcomes) if hasattr(work, "remarks") else []
  if remarks:
    parts.append("\n".join(f"- {line}" for line in remarks) + "\n")
    print(parts[-1], flush=True)
  return "\n".join(parts)
