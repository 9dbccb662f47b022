"""Measure the memory of a running command and of the processes that it starts."""

import os
import subprocess
import time

EVERY = 0.2  # seconds


def peak_memory(process: subprocess.Popen, peaks: dict[str, float]) -> None:
  """Update peaks until a process ends.

  Args:
    process: The command.
    peaks: Gets the largest number of bytes of the command ('parent'), of one of its children
      ('worker') and of all together ('all'). Shared pages count by their share.
  """
  while process.poll() is None:
    parent = proportional_bytes(process.pid)
    workers = [proportional_bytes(child) for child in descendants(process.pid)]
    for name, value in (
      ("parent", parent),
      ("worker", max(workers, default=0)),
      ("all", parent + sum(workers)),
    ):
      peaks[name] = max(peaks[name], value)
    time.sleep(EVERY)


def own_memory() -> int:
  """Return the bytes of this process in memory."""
  with open("/proc/self/statm") as file:
    return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descendants(pid: int) -> list[int]:
  """Return the processes that a process started, and those that they started."""
  found = []
  try:
    for thread in os.listdir(f"/proc/{pid}/task"):
      with open(f"/proc/{pid}/task/{thread}/children") as file:
        for child in map(int, file.read().split()):
          found += [child, *descendants(child)]
  except OSError:  # it has ended
    pass
  return found


def proportional_bytes(pid: int) -> int:
  """Return the proportional set size of a process, 0 if it has ended."""
  try:
    with open(f"/proc/{pid}/smaps_rollup") as file:
      return next(1024 * int(line.split()[1]) for line in file if line.startswith("Pss:"))
  except (OSError, StopIteration):
    return 0
