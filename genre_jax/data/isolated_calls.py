"""Call functions in worker processes that may crash, hang or take too much memory.

A call that ends its process costs one result. Unlike `workers.py`, which prepares data sets, the
workers do not import the main module of the program.
"""

import collections
import concurrent.futures
import multiprocessing
import os
import queue
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.spawn import get_executable
from typing import Any

from genre_jax.data import worker_process

# Bytes that a call may allocate. Decoding 64 channels at 3 MHz takes less.
MEMORY = 384_000_000
# A call gets this share of the length of the audio that it has processed as further time.
SHARE = 0.1
CRASHED = "ended the process that read it: the decoder crashed or memory was insufficient"


_current = threading.local()


def workers_for(tasks: int) -> int:
  """Return the number of workers for a number of tasks: one per core, or one per task."""
  return max(1, min(os.cpu_count() or 1, tasks))


def check_stopped() -> None:
  """Raise CancelledError in a `then` of `IsolatedCalls.results` whose result is not needed."""
  if hasattr(_current, "stopped") and _current.stopped.is_set():
    raise concurrent.futures.CancelledError


class IsolatedCalls:
  """Worker processes that compute calls in order, with limits of time and memory.

  Args:
    modules: Modules that workers import at their start.
    memory: Bytes that a call may allocate beyond what a worker needs at its start; 0 for no limit.
      Applies on Linux.
  """

  def __init__(self, modules: Sequence[str] = (), memory: int = MEMORY):
    self._modules, self._memory = tuple(modules), memory
    self._all: set[_Worker] = set()
    self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    self._closed = False

  def __enter__(self) -> "IsolatedCalls":
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def start(self) -> None:
    """Start a worker before there is a task for it.

    If the program has no threads yet, the worker is a fork of it, which costs nothing. JAX and
    TensorFlow start threads.
    """
    threads = threading.active_count() > 1 or not {"jax", "tensorflow"}.isdisjoint(sys.modules)
    self._idle.put(self._new(fork=sys.platform == "linux" and not threads))

  def close(self) -> None:
    """End the workers, whatever they do."""
    self._closed = True
    for worker in list(self._all):
      worker.end()

  def results(
    self,
    function: Callable[..., Any],
    tasks: Iterable[tuple],
    workers: int,
    seconds: float = 0.0,
    then: Callable[[tuple, Any], Any] | None = None,
  ) -> Generator[Any]:
    """Yield `function(*task)` for each task, in order.

    A thread of this process waits for each worker, and calls `then` while the worker waits.

    Args:
      function: A function at the top level of a module other than the main module. It may call
        `worker_process.report_progress`.
      tasks: Arguments; consumed as needed.
      workers: Number of processes.
      seconds: Time for a call, plus a tenth of the seconds of audio that it has processed; 0 for no
        limit.
      then: Called in this process with each task and its result; returns the result to yield. Its
        errors are raised here.

    Yields:
      The result, or the reason, a str, if the call raised, ended its process or took too long.
    """
    waiting: collections.deque = collections.deque()
    busy: set[_Worker] = set()
    stopped = threading.Event()
    threads = concurrent.futures.ThreadPoolExecutor(workers)
    try:
      for task in tasks:
        waiting.append(threads.submit(self._call, function, task, seconds, busy, stopped, then))
        if len(waiting) >= 4 * workers:
          yield waiting.popleft().result()
      while waiting:
        yield waiting.popleft().result()
    finally:
      threads.shutdown(wait=False, cancel_futures=True)
      stopped.set()
      for worker in list(busy):  # their results are not needed
        worker.end()
      threads.shutdown()

  def _call(self, function, task, seconds, busy, stopped, then):
    try:
      worker = self._idle.get_nowait()
    except queue.Empty:
      worker = self._new()
    busy.add(worker)
    if stopped.is_set():
      worker.end()
    try:
      result = worker.call(function, task, seconds)
    except TimeoutError as error:
      result = str(error)
      worker.end()
    except (EOFError, OSError):
      result = CRASHED
      worker.end()
    busy.discard(worker)
    if worker.ended:
      self._all.discard(worker)
    else:
      self._idle.put(worker)
    if then is None or stopped.is_set():
      return result
    _current.stopped = stopped
    return then(task, result)

  def _new(self, fork=False):
    worker = _Worker(self._modules, self._memory, fork)
    self._all.add(worker)
    if self._closed:
      worker.end()
    return worker


class _Worker:
  """One process."""

  def __init__(self, modules, memory, fork):
    ours, theirs = socket.socketpair()
    with theirs:
      self._process = (_fork if fork else _spawn)(ours, theirs, modules, memory)
    self._connection = Connection(ours.detach())
    self._ready = self.ended = False

  def call(self, function, arguments, seconds):
    """Return the result of a call, or the reason if it raised.

    Raises:
      TimeoutError: If it takes too long.
      EOFError, OSError: If it ends the process.
    """
    self._connection.send((function, arguments))
    started = time.monotonic() if self._ready else float("inf")
    limit = seconds
    while True:
      if seconds and self._ready:
        left = started + limit - time.monotonic()
        if not self._connection.poll(max(0.0, left)):
          raise TimeoutError(f"took longer than {limit:.0f} s to read")
      kind, value = self._connection.recv()
      if kind == "ready":
        self._ready, started = True, time.monotonic()
      elif kind == "progress":
        limit = seconds + SHARE * value
      else:  # "result" or "error"
        return value

  def end(self) -> None:
    """End the process and wait for its end."""
    self.ended = True
    self._process.kill()
    if isinstance(self._process, subprocess.Popen):
      self._process.wait()
    else:
      self._process.join()


def _spawn(ours, theirs, modules, memory):
  descriptor = theirs.fileno()
  program = (
    f"import sys; sys.path[:] = {sys.path!r}; from genre_jax.data import worker_process;"
    f" worker_process.serve({descriptor}, {modules!r}, {memory})"
  )
  return subprocess.Popen(
    [os.fsdecode(get_executable()), "-c", program],
    stdin=subprocess.DEVNULL,
    stdout=subprocess.DEVNULL,
    pass_fds=[descriptor],
  )


def _fork(ours, theirs, modules, memory):
  process = multiprocessing.get_context("fork").Process(
    target=_forked, args=(ours, theirs, modules, memory), daemon=True
  )
  with warnings.catch_warnings():
    # Python counts the threads of OpenBLAS, which handles forks.
    warnings.simplefilter("ignore", DeprecationWarning)
    process.start()
  return process


def _forked(ours, theirs, modules, memory):
  ours.close()
  nothing = os.open(os.devnull, os.O_RDWR)
  os.dup2(nothing, 0)
  os.dup2(nothing, 1)
  worker_process.serve(theirs.detach(), modules, memory)
