"""The engine of one machine: this process predicts one partition after another.

Decoding uses all cores, in the processes of `data/isolated_calls.py`.
"""

from collections.abc import Iterable, Iterator

from genre_jax.data.isolated_calls import IsolatedCalls
from genre_jax.distributed.manifest import File
from genre_jax.distributed.partitions import Work, predict_partition
from genre_jax.inference.model import Model


def predict_all(
  work: Work,
  partitions: Iterable[tuple[int, list[File]]],
  model: Model,
  calls: IsolatedCalls,
  workers: int,
) -> Iterator[int]:
  """Predict partitions.

  Args:
    work: What all partitions share.
    partitions: Number and files of each partition; consumed as needed.
    model: The model of the manifest.
    calls: Processes that decode; they remain open.
    workers: Files at a time; 0 for one per core.

  Yields:
    The number of each partition whose file was written.

  Raises:
    UserError: If the disk is full or the folder cannot be written.
  """
  for number, files in partitions:
    predict_partition(work, number, files, model, calls, workers)
    yield number
