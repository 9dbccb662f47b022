"""The engine of several machines: each partition is a task of Ray.

A task is stateless, so Ray starts it again on another machine if its process or its machine ends.
Ray's actors would hang there, and Ray Data needs free cores for its checkpoints. This module
imports neither Ray nor JAX before they are needed.
"""

import functools
import itertools
import os
import signal
import socket
import warnings
from collections.abc import Iterable, Iterator

from genre_jax.distributed.manifest import File
from genre_jax.errors import UserError, missing_extra

CONNECT_SECONDS = 10.0
TASKS_PER_CORE = 2  # sent to the machines; the others wait here


def predict_all(
  work,
  partitions: Iterable[tuple[int, list[File]]],
  *,
  model: str,
  labels: str,
  address: str,
) -> Iterator[int]:
  """Predict partitions on a Ray cluster.

  Every machine needs this package, and the files and the folder under the same paths.

  Args:
    work: As of `pool.predict_all`.
    partitions: Number and files of each partition; consumed as needed.
    model: A value of --model that every machine can load.
    labels: A value of --labels.
    address: 'auto' for the cluster that runs on this machine, HOST:PORT, or 'local' to start Ray on
      this machine until the end.

  Yields:
    The number of each partition whose file was written.

  Raises:
    UserError: If Ray is not installed, there is no cluster, or a machine lacks the model or the
      folder.
  """
  ray = _connect(address)
  try:
    task = ray.remote(_predict).options(num_cpus=1, max_retries=-1)
    rest = iter(partitions)
    waiting: dict = {}
    while True:
      cores = int(ray.cluster_resources().get("CPU", 0))  # machines may join and leave
      free = max(TASKS_PER_CORE * cores, 1) - len(waiting)
      for number, files in itertools.islice(rest, max(free, 0)):
        waiting[task.remote(work, number, files, model, labels)] = number
      if not waiting:
        return
      for done in ray.wait(list(waiting))[0]:
        number = waiting.pop(done)
        _check(ray, done)
        yield number
  finally:
    ray.shutdown()


def import_ray():
  """Return the module `ray`.

  Raises:
    UserError: If it is not installed.
  """
  os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # otherwise it reports to its makers
  os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")  # below, it prints each try to connect
  try:
    import ray
  except ImportError as error:
    raise missing_extra("--engine=ray", "ray", "ray") from error
  return ray


def _connect(address):
  """Return the module `ray`, connected to a cluster."""
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
    raise _no_cluster(address, (str(error).splitlines() or [repr(error)])[0]) from error
  signal.signal(signal.SIGTERM, handler)  # Ray's own would exit with another status
  return ray


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
    " --head`, or give --address=local to use this machine alone"
  )


def _check(ray, done) -> None:
  """Raise UserError if a task failed for a reason that another try does not remove."""
  try:
    ray.get(done)
  except ray.exceptions.RayTaskError as error:
    if isinstance(error.cause, UserError):
      raise UserError(str(error.cause)) from error
    raise UserError(
      f"--engine=ray: a task failed ({type(error.cause).__name__}: {error.cause}); finished"
      " partitions are kept: fix that, then repeat the command"
    ) from error
  except ray.exceptions.RayError as error:
    reason = (str(error).splitlines() or [repr(error)])[0]
    raise UserError(f"--engine=ray: {reason}; repeat the command to resume") from error


def _predict(work, number, files, model, labels) -> None:
  """Predict a partition in a worker process of Ray."""
  loaded, calls = _kept(model, labels, work.settings.model_sha256)
  from genre_jax.distributed.partitions import predict_partition

  predict_partition(work, number, files, loaded, calls, workers=1)


@functools.cache
def _kept(name, labels, sha256):
  """Return the model and the decoder of this process, which later tasks use too."""
  # A task has one core, and no accelerator: the networks are small.
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
  from genre_jax.data.isolated_calls import IsolatedCalls
  from genre_jax.inference.model_dir import model_hash

  calls = IsolatedCalls(["genre_jax.inference.track_log_mel"])
  calls.start()
  from genre_jax.inference import model

  model.keep_compiled_programs()
  loaded = model.load(name, labels)
  if model_hash(loaded) != sha256:
    raise UserError(
      f"--model={name}: {socket.gethostname()} has another model of this name; install the same"
      " model on every machine, then repeat the command"
    )
  return loaded, calls
