"""Work on many clips in several processes, answered in order, with few in flight."""

import collections
import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any


def _leave_all_to_the_parent() -> None:
  """Ctrl-C reaches workers too; only the parent answers it, and they end with it."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  signal.signal(signal.SIGTERM, signal.SIG_DFL)

  def end_with(sentinel):
    multiprocessing.connection.wait([sentinel])
    os._exit(1)

  # A parent that is killed ends nothing itself.
  parent = multiprocessing.parent_process().sentinel
  threading.Thread(target=end_with, args=(parent,), daemon=True).start()


def in_order(function: Callable[..., Any], tasks: Iterable[tuple], workers: int) -> Iterator[Any]:
  """Yields `function(*task)` of each task, in their order.

  Args:
    function: of a module's top level, and picklable, as are tasks and results.
    tasks: arguments; taken as they are needed.
    workers: processes; 1 works in this one.
  """
  if workers == 1:
    for task in tasks:
      yield function(*task)
    return
  # Not fork: JAX and TensorFlow hold threads in this process.
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(
    workers, mp_context=context, initializer=_leave_all_to_the_parent
  ) as pool:
    waiting: collections.deque = collections.deque()
    try:
      for task in tasks:
        waiting.append(pool.submit(function, *task))
        if len(waiting) >= 4 * workers:
          yield waiting.popleft().result()
      while waiting:
        yield waiting.popleft().result()
    finally:
      for future in waiting:
        future.cancel()
