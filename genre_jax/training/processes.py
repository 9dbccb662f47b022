"""Connect the processes that train one network together, and let them agree.

Each process computes its rows of a batch; JAX adds their gradients. Process 0 writes everything
but the checkpoints, which orbax writes from all. An error of one process ends all of them. With one
process, every function here returns at once.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from genre_jax.errors import LOST, UserError

CONNECT_SECONDS = 60
HEARTBEAT_SECONDS = 10  # without a sign of life, a process counts as lost
SHUTDOWN_SECONDS = 10
STUCK_SECONDS = 600.0  # without the end of a step; the first step may compile as long as it needs
# Words of errors of a connection to another process: gloo on CPUs, NCCL on GPUs, JAX's service.
CONNECTION_ERRORS = ("Gloo", "NCCL", "oordination service", "UNAVAILABLE", "DEADLINE_EXCEEDED")


def connect(coordinator: str, count: int, index: int) -> None:
  """Connect this process with the others, before anything else uses JAX.

  Args:
    coordinator: HOST:PORT of process 0; 'auto' where JAX finds it, as under Slurm.
    count: Number of processes.
    index: Index of this process, from 0.

  Raises:
    UserError: If the numbers are wrong, the others cannot be reached, or the name of this machine
      has no address.
  """
  arguments = {}
  if coordinator != "auto":
    if not 0 <= index < count:
      raise UserError(
        f"--processes={count} --process={index}: give the number of processes, and for each its"
        " index, from 0"
      )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit():
      raise UserError(f"--coordinator={coordinator}: give HOST:PORT of process 0, or auto")
    arguments = {"coordinator_address": coordinator, "num_processes": count, "process_id": index}
    if host in ("127.0.0.1", "localhost"):  # otherwise JAX listens on all addresses
      arguments["coordinator_bind_address"] = coordinator
  # It would take SIGTERM, and nobody asks it: a stop flag travels with the batch.
  jax.config.update("jax_enable_preemption_service", False)
  try:
    jax.distributed.initialize(
      **arguments,
      initialization_timeout=CONNECT_SECONDS,
      heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
      shutdown_timeout_seconds=SHUTDOWN_SECONDS,
    )
  except (RuntimeError, ValueError) as error:
    reason = str(error).strip().splitlines()[0][:200]
    raise UserError(
      f"--coordinator={coordinator}: the processes did not connect within {CONNECT_SECONDS} s"
      f" ({reason}); start all of them, with one coordinator and one number of processes"
    ) from error
  try:
    owners = [device.process_index for device in jax.devices()]
  except RuntimeError as error:
    name = socket.gethostname()
    if "gloo" not in str(error):
      raise
    try:
      socket.gethostbyname(name)
    except OSError:  # Gloo, which adds the gradients of CPUs, asks for this address
      raise UserError(
        f"this machine's name, {name}, has no address: add it to /etc/hosts, with the address at"
        " which the other machines reach it, or 127.0.0.1 if there are none"
      ) from error
    raise
  devices = [owners.count(process) for process in range(jax.process_count())]
  if len(set(devices)) > 1:
    raise UserError(f"the processes have {devices} devices: give each of them the same number")
  if jax.process_index():
    sys.stdout = open(os.devnull, "w")  # process 0 prints
  print(f"processes {jax.process_count()}, with {devices[0]} devices each")


def is_first() -> bool:
  """Return whether this process is the one that writes and prints."""
  return jax.process_index() == 0


def part() -> tuple[int, int]:
  """Return the index of this process and the number of processes."""
  return jax.process_index(), jax.process_count()


def gather(value: Any) -> list[Any]:
  """Return the value of each process, in their order; all must call this.

  Args:
    value: What JSON can represent.
  """
  if jax.process_count() == 1:
    return [value]
  data = np.frombuffer(json.dumps(value).encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.array(len(data))).ravel()
  padded = np.zeros(sizes.max(), np.uint8)
  padded[: len(data)] = data
  rows = multihost_utils.process_allgather(padded)
  return [json.loads(bytes(row[:size])) for row, size in zip(rows, sizes, strict=True)]


@contextlib.contextmanager
def together() -> Iterator[None]:
  """End the block in all processes with the error of the first one that has a UserError or OSError.

  All must enter and leave the block.
  """
  own: Exception | None = None
  try:
    yield
  except (UserError, OSError) as error:
    if jax.process_count() == 1:
      raise
    own = error
  reasons = gather(str(own) if own else "")
  for index, reason in enumerate(reasons):
    if reason:
      if own:
        raise own
      raise UserError(f"process {index}: {reason}")


def one_after_another(function: Callable[[], Any]) -> Any:
  """Return what a function returns; it ends in process 0 before it begins in the others."""
  result = None
  with together():
    if is_first():
      result = function()
  with together():
    if not is_first():
      result = function()
  return result


def check_same(values: dict[str, Any]) -> None:
  """Compare values of all processes.

  Raises:
    UserError: If one differs; the message names it and its values.
  """
  all_values = gather({name: repr(value) for name, value in values.items()})
  for name, first in all_values[0].items():
    found = [other.get(name) for other in all_values]
    if any(other != first for other in found):
      raise UserError(f"the processes differ: {name} is {', '.join(found)}")


@contextlib.contextmanager
def watch() -> Iterator[Callable[..., None]]:
  """End this process if another one is lost, or if no step ends for a long time.

  Nothing can be waited for then, so the process ends at once, with one line and status LOST.

  Yields:
    A function to call after each step, from which the time of the next one begins; with False
    before something else than a step, which may take as long as it needs.
  """
  if jax.process_count() == 1:
    yield lambda running=True: None
    return
  last: list[float] = []
  ended = threading.Event()
  threading.Thread(target=_end_if_stuck, args=(last, ended), daemon=True).start()
  try:
    yield lambda running=True: last.__setitem__(slice(None), [time.monotonic()] * running)
  except (RuntimeError, ValueError) as error:  # JAX raises both
    if is_lost(error):
      leave("another process was lost")
    raise
  finally:
    ended.set()


def is_lost(error: Exception) -> bool:
  """Return whether an error says that another process cannot be reached any more."""
  return jax.process_count() > 1 and any(words in str(error) for words in CONNECTION_ERRORS)


def _end_if_stuck(last: list[float], ended: threading.Event) -> None:
  while not ended.wait(1.0):
    if any(time.monotonic() - begin > STUCK_SECONDS for begin in tuple(last)):
      leave(f"no step ended for {STUCK_SECONDS:g} s")


def leave(reason: str, status: int = LOST) -> None:
  """End this process at once: the others can no longer be waited for, and notice it."""
  print(
    f"error: process {jax.process_index()}: {reason}; start all processes again: they resume at"
    " the last checkpoint",
    file=sys.stderr,
    flush=True,
  )
  os._exit(status)
