"""The engine of several machines: each partition is a task of Ray.

A task is stateless, so it is started again on another machine if its process or its machine ends.
Ray's actors would hang there, and Ray Data needs free cores for its checkpoints. This module
imports Ray when it is needed, and knows nothing of what a task computes (`ray_tasks.py`).
"""

import contextlib
import itertools
import os
import pathlib
import re
import signal
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from genre_jax.errors import UserError, missing_extra

CONNECT_SECONDS = 10.0
TASKS_PER_CORE = 2  # sent to the machines; the others wait here


def map_partitions(
  ray: Any,
  function: Callable,
  shared: tuple,
  partitions: Iterable[tuple],
  most_tries: int = 0,
) -> Iterator[tuple[tuple, Any]]:
  """Compute `function(*shared, *partition)` for each partition on a Ray cluster.

  Every machine needs this package, and the files under the same paths.

  Args:
    ray: As of `cluster`.
    function: Stateless function at the top level of a module. It must not return None.
    shared: Its first arguments.
    partitions: Its further arguments; consumed as needed.
    most_tries: Number of times that a partition may end its process or its machine; 0: no limit.

  Yields:
    (partition, result), as they finish; the result is None after `most_tries` such ends.

  Raises:
    UserError: If a task fails for a reason that another try does not remove.
  """
  # Ray would not count the tries that end for lack of memory.
  task = ray.remote(function).options(num_cpus=1, max_retries=0)
  rest = iter(partitions)
  waiting: dict = {}
  while True:
    cores = int(ray.cluster_resources().get("CPU", 0))  # machines may join and leave
    free = max(TASKS_PER_CORE * cores, 1) - len(waiting)
    for partition in itertools.islice(rest, max(free, 0)):
      waiting[task.remote(*shared, *partition)] = partition, 1
    if not waiting:
      return
    for done in ray.wait(list(waiting))[0]:
      partition, tries = waiting.pop(done)
      result = _result(ray, done)
      if result is None and tries != most_tries:
        waiting[task.remote(*shared, *partition)] = partition, tries + 1
      else:
        yield partition, result


def _result(ray, done) -> Any:
  """Return the result of a task, None if its process or its machine ended.

  Raises:
    UserError: If it failed for a reason that another try does not remove.
  """
  errors = ray.exceptions
  try:
    return ray.get(done)
  except (
    errors.WorkerCrashedError,
    errors.NodeDiedError,
    errors.OutOfMemoryError,
    errors.ObjectLostError,  # the machine ended before the result was sent
  ):
    return None
  except errors.RayTaskError as error:
    if isinstance(error.cause, UserError):
      raise UserError(str(error.cause)) from error
    if missing := re.search(r"No module named '(\S+)'", str(error)):
      raise UserError(
        f"--engine=ray: a machine cannot import {missing[1]}: install genre_jax with the same"
        " extras on every machine, then repeat the command"
      ) from error
    raise UserError(
      f"--engine=ray: a task failed ({type(error.cause).__name__}: {_first_line(error.cause)});"
      " finished partitions are kept: fix that, then repeat the command"
    ) from error
  except errors.RayError as error:
    raise UserError(f"--engine=ray: {_first_line(error)}; repeat the command to resume") from error


def _first_line(error) -> str:
  return (str(error).splitlines() or [repr(error)])[0]


def import_ray():
  """Return the module `ray`.

  Raises:
    UserError: If it is not installed.
  """
  if (pathlib.Path.home() / ".ray" / "auth_token").exists():
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # `ray start` does so, `ray.init` does not
  os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # otherwise it reports to its makers
  os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")  # below, it prints each try to connect
  try:
    import ray
  except ImportError as error:
    raise missing_extra("--engine=ray", "ray", "ray") from error
  return ray


@contextlib.contextmanager
def cluster(address: str) -> Iterator[Any]:
  """Connect to a Ray cluster for the block, whose end stops its tasks; return the module `ray`.

  Args:
    address: 'auto' for the cluster that runs on this machine, HOST:PORT, or 'local' to start Ray on
      this machine for the block.

  Raises:
    UserError: If Ray is not installed, or there is no cluster.
  """
  ray = import_ray()
  if address not in ("auto", "local"):
    _check_address(address)
  handler = signal.getsignal(signal.SIGTERM)
  options = {"include_dashboard": False} if address == "local" else {}
  try:
    with warnings.catch_warnings():
      # JAX warns of every fork; Ray's children start another program at once.
      warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
      ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
  except (ConnectionError, RuntimeError, ValueError, OSError, AssertionError) as error:
    raise _no_cluster(address, _first_line(error)) from error
  try:
    signal.signal(signal.SIGTERM, handler)  # Ray's own would exit with another status
    yield ray
  finally:
    ray.shutdown()


def _check_address(address: str) -> None:
  """Raise UserError unless a program accepts connections at HOST:PORT; Ray waits for minutes."""
  host, _, port = address.rpartition(":")
  if not host or "/" in host or not port.isdecimal():
    raise UserError(f"--address={address}: give auto, local or HOST:PORT")
  try:
    socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
  except (OSError, OverflowError) as error:
    raise _no_cluster(address, getattr(error, "strerror", None) or str(error)) from error


def _no_cluster(address: str, reason: str) -> UserError:
  return UserError(
    f"--address={address}: no Ray cluster can be used there ({reason}); start one by `ray start"
    " --head`, copy ~/.ray/auth_token of its first machine if it asks for a token, or give"
    " --address=local to use this machine alone"
  )
