"""Process many clips in several processes, with results in order and a limit of tasks in flight."""

import collections
import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

IN_FLIGHT = 64  # tasks per worker: they last while the caller imports TensorFlow


def _follow_parent() -> None:
  """Ignore Ctrl-C in a worker, which the parent handles, and end when the parent ends."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  signal.signal(signal.SIGTERM, signal.SIG_DFL)

  def end_with(sentinel):
    multiprocessing.connection.wait([sentinel])
    os._exit(1)

  # A killed parent cannot end its workers.
  parent = multiprocessing.parent_process().sentinel
  threading.Thread(target=end_with, args=(parent,), daemon=True).start()


def in_order(function: Callable[..., Any], tasks: Iterable[tuple], workers: int) -> Iterator[Any]:
  """Yield `function(*task)` for each task, in order.

  Args:
    function: Function at the top level of a module; it, tasks and results must be picklable.
    tasks: Arguments; consumed as needed.
    workers: Number of processes; 1 runs in this process.
  """
  if workers == 1:
    for task in tasks:
      yield function(*task)
    return
  # Not fork: JAX and TensorFlow run threads in this process.
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(
    workers, mp_context=context, initializer=_follow_parent
  ) as pool:
    waiting: collections.deque = collections.deque()
    try:
      for task in tasks:
        waiting.append(pool.submit(function, *task))
        if len(waiting) >= IN_FLIGHT * workers:
          yield waiting.popleft().result()
      while waiting:
        yield waiting.popleft().result()
    finally:
      for future in waiting:
        future.cancel()
