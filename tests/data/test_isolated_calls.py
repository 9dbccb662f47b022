import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError

import numpy as np
import pytest

from genre_jax.data import worker_process
from genre_jax.data.isolated_calls import CRASHED, IsolatedCalls, check_stopped


def echo(value, delay=0.0):
  """Return the value after a time."""
  time.sleep(delay)
  return value, os.getpid()


def end_process(number):
  """End the process as a fault of a decoder does."""
  os.kill(os.getpid(), number)
  time.sleep(60)


def allocate(megabytes):
  """Return the size of an array."""
  return np.ones((megabytes, 1_000_000 // 8)).nbytes


def work(seconds, progress):
  """Report progress for some time."""
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    worker_process.report_progress(progress)
    time.sleep(0.05)
  return "done"


def fail(reason):
  """Raise an error."""
  raise RuntimeError(reason)


def make_lambda():
  """Return what cannot be sent."""
  return lambda: 0


def test_results_are_in_order_and_workers_are_reused():
  tasks = [(number, 0.2 if number % 3 == 0 else 0.0) for number in range(8)]
  with IsolatedCalls() as calls:
    calls.start()
    results = list(calls.results(echo, tasks, 2))
    again = list(calls.results(echo, tasks[:1], 2))
  assert [value for value, _ in results] == list(range(8))
  assert 1 <= len({process for _, process in results + again}) <= 2
  assert os.getpid() not in {process for _, process in results}


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_costs_one_result(number):
  with IsolatedCalls() as calls:
    assert list(calls.results(end_process, [(number,)], 1)) == [CRASHED]
    assert next(calls.results(echo, [("next",)], 1))[0] == "next"


def test_an_error_is_a_result():
  with IsolatedCalls() as calls:
    assert list(calls.results(fail, [("reason",)], 1)) == ["RuntimeError: reason"]
    assert "make_lambda" in next(calls.results(make_lambda, [()], 1))


def test_what_follows_a_call_runs_here_in_as_many_threads_as_workers():
  running, threads, most = set(), set(), 0

  def follow(task, result):
    nonlocal most
    threads.add(threading.get_ident())
    running.add(threading.get_ident())
    most = max(most, len(running))
    time.sleep(0.05)
    running.discard(threading.get_ident())
    return task, result[0], os.getpid()

  with IsolatedCalls() as calls:
    results = list(calls.results(echo, [(number,) for number in range(8)], 2, then=follow))
    assert results == [((number,), number, os.getpid()) for number in range(8)]
    assert 1 <= most <= 2 and threading.get_ident() not in threads
    [reason] = calls.results(fail, [("reason",)], 1, then=lambda task, result: (task, result))
    assert reason == (("reason",), "RuntimeError: reason")
    with pytest.raises(ZeroDivisionError):
      list(calls.results(echo, [(0,)], 1, then=lambda task, result: 1 / result[0]))


def test_what_follows_is_told_when_nobody_waits_for_it():
  stopped = threading.Event()

  def follow(task, result):
    if task[0]:
      try:
        while True:
          check_stopped()
          time.sleep(0.01)
      except CancelledError:
        stopped.set()
    return result

  with IsolatedCalls() as calls:
    results = calls.results(echo, [(0,), (1,), (2,)], 2, then=follow)
    assert next(results)[0] == 0
    time.sleep(0.2)
    results.close()
  assert stopped.is_set()
  check_stopped()  # does nothing elsewhere


@pytest.mark.slow
def test_time_limit_grows_with_progress():
  with IsolatedCalls([__name__]) as calls:
    results = list(calls.results(work, [(60, 0.0), (2.5, 10.0)], 1, seconds=1.0))
  assert results == ["took longer than 1 s to read", "done"]


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory on Linux")
def test_memory_limit():
  with IsolatedCalls(["numpy"], memory=100_000_000) as calls:
    results = list(calls.results(allocate, [(50,), (200,), (20,)], 1))
  assert results[0] == 50_000_000 and results[2] == 20_000_000
  assert "MemoryError" in results[1]


SCRIPT = """
import os, sys
from genre_jax.data.isolated_calls import IsolatedCalls
calls = IsolatedCalls()
calls.start()
print(next(calls.results(os.getpid, [()], 1)), flush=True)
print(next(calls.results(os.path.basename, [("a/b",)], 1)), flush=True)
if "wait" in sys.argv:
  list(calls.results(__import__("time").sleep, [(600,)], 1))
calls.close()
"""


def test_script_without_guard_of_its_main_module(tmp_path):
  script = tmp_path / "script.py"
  script.write_text(SCRIPT)
  environment = {**os.environ, "PYTHONPATH": os.getcwd()}
  lines = subprocess.run(
    [sys.executable, script], env=environment, capture_output=True, text=True, check=True
  ).stdout.split()
  assert len(lines) == 2 and lines[1] == "b"


def test_workers_end_with_a_killed_parent(tmp_path):
  script = tmp_path / "script.py"
  script.write_text(SCRIPT)
  environment = {**os.environ, "PYTHONPATH": os.getcwd()}
  with subprocess.Popen(
    [sys.executable, script, "wait"], env=environment, stdout=subprocess.PIPE, text=True
  ) as parent:
    worker = int(parent.stdout.readline())
    parent.stdout.readline()
    parent.kill()
  for _ in range(100):
    state = pathlib.Path(f"/proc/{worker}/stat")
    if not state.exists() or state.read_text().split()[2] == "Z":
      break
    time.sleep(0.1)
  else:
    pytest.fail("the worker is still running")
