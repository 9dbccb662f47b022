"""Run calls in a process of its own: the part that runs in that process.

A worker imports the modules of its tasks and nothing of the program that started it, so that a
script without `if __name__ == "__main__"` can start workers. It ends when its parent ends.
"""

import importlib
import os
import queue
import resource
import signal
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

PROGRESS_EVERY = 0.5  # seconds between messages

_parent: Connection | None = None  # of a worker
_done = _reported = 0.0


def serve(descriptor: int, modules: Sequence[str], memory: int) -> None:
  """Compute what the parent sends until it closes the connection.

  Args:
    descriptor: One end of a socket pair.
    modules: Modules to import while the parent still prepares.
    memory: Bytes that tasks may allocate; 0 for no limit.
  """
  global _parent, _done
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
  signal.signal(signal.SIGTERM, signal.SIG_DFL)
  resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
  _parent = Connection(descriptor)
  tasks: queue.SimpleQueue = queue.SimpleQueue()
  threading.Thread(target=_receive, args=(_parent, tasks), daemon=True).start()
  for module in modules:
    importlib.import_module(module)
  if memory:
    _limit_memory(memory)
  _parent.send(("ready", None))
  while True:
    function, arguments = tasks.get()
    _done = 0.0
    try:
      message = "result", function(*arguments)
    except Exception as error:
      message = "error", f"{type(error).__name__}: {error}"
    try:
      _parent.send(message)
    except BrokenPipeError:
      return
    except Exception as error:  # it cannot be pickled
      _parent.send(("error", f"{type(error).__name__}: {error}"))
    del message, function, arguments


def report_progress(seconds: float) -> None:
  """Tell the parent, if this is a worker, that further seconds of audio have been processed."""
  global _done, _reported
  if _parent is None:
    return
  _done += seconds
  if time.monotonic() - _reported >= PROGRESS_EVERY:
    _reported = time.monotonic()
    _parent.send(("progress", _done))


def _receive(parent, tasks) -> None:
  """Receive tasks; end the process, whatever it does, when the parent closes the connection."""
  try:
    while True:
      tasks.put(parent.recv())
  except (EOFError, OSError):
    os._exit(1)


def _limit_memory(limit: int) -> None:
  """Limit what this process may allocate beyond what it has, where the system reports that."""
  try:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
      used = next(1024 * int(line.split()[1]) for line in file if line.startswith("VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (used + limit, -1))
  except (OSError, ValueError, StopIteration):  # not Linux, or a lower limit exists
    pass
