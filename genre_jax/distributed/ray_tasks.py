"""What tasks of Ray compute: partitions of a job.

The functions whose names end in `_task` run in worker processes of Ray, the others in the process
of the command. This module imports neither Ray nor JAX before they are needed.
"""

import functools
import os
import socket
from collections.abc import Iterable, Iterator

from genre_jax.distributed.manifest import File
from genre_jax.distributed.ray_engine import cluster, map_partitions
from genre_jax.errors import UserError


def predict_all(
  work,
  partitions: Iterable[tuple[int, list[File]]],
  *,
  model: tuple[str, str, str],
  address: str,
) -> Iterator[int]:
  """Predict the partitions of a job.

  Args:
    work: As of `pool.predict_all`.
    partitions: Number and files of each partition; consumed as needed.
    model: As of `ModelFlags.everywhere`.
    address: As of `ray_engine.cluster`.

  Yields:
    The number of each partition whose file was written.

  Raises:
    UserError: If there is no cluster, or a machine lacks the model or the folder.
  """
  from genre_jax.distributed.partitions import tries_path

  begun: set[int] = set()

  def begin():
    for number, files in partitions:
      begun.add(number)
      yield number, files

  try:
    with cluster(address) as ray:
      for (number, _), _ in map_partitions(ray, predict_task, (work, model), begin()):
        begun.discard(number)
        yield number
  finally:
    # The end of the command ends these tasks: no file of theirs is to blame.
    for number in begun:
      tries_path(work.directory, number).unlink(missing_ok=True)


def predict_task(work, model, number, files) -> int:
  """Predict a partition, return its number."""
  from genre_jax.distributed.partitions import predict_partition

  loaded, calls = _kept(*model, "genre_jax.inference.track_log_mel")
  predict_partition(work, number, files, loaded, calls, workers=1)
  return number


@functools.cache
def _kept(name, labels, sha256, reader):
  """Return the model and the decoder of this process, which later tasks use too."""
  # A task has one core, and no accelerator: the networks are small.
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
  from genre_jax.data.isolated_calls import IsolatedCalls
  from genre_jax.inference.model_dir import model_hash

  calls = IsolatedCalls([reader])
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
