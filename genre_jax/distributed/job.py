"""Run the partitions of a job that are not finished."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator

from tqdm import tqdm

from genre_jax.data.names import printable_path
from genre_jax.distributed import manifest as manifests
from genre_jax.distributed import partitions
from genre_jax.distributed.manifest import File, Settings
from genre_jax.distributed.partitions import Work
from genre_jax.errors import UserError
from genre_jax.inference.output_lock import OutputLock

# Predicts partitions, given as (number, files), in any order, and yields the number of each whose
# file was written.
Engine = Callable[[Work, Iterable[tuple[int, list[File]]]], Iterator[int]]


@dataclasses.dataclass(frozen=True)
class Summary:
  """Counts of a job.

  Attributes:
    files: Number of files.
    partitions: Number of partitions.
    earlier: Partitions that earlier commands finished.
    failed: Number of failed files.
    failures: (file, reason) of some of them.
  """

  files: int
  partitions: int
  earlier: int
  failed: int
  failures: list[tuple[str, str]]


def run(
  directory: pathlib.Path,
  settings: Settings,
  files: list[File],
  engine: Engine,
  *,
  file_seconds: float,
  num_failures: int,
  retry: bool = False,
) -> Summary:
  """Predict all partitions of a job that are not finished; show progress.

  Args:
    directory: Folder of the job; created if absent.
    settings: See `manifest.settings_of`.
    files: The files; [] for those of the existing manifest.
    engine: Predicts partitions.
    file_seconds: As of `predict_files.predict`.
    num_failures: Largest number of failures to return.
    retry: Predict finished partitions with failed files again.

  Raises:
    UserError: If the folder is another job, is being written by another command, or cannot be
      written.
  """
  directory = directory.absolute()
  manifests.check_folder(directory)
  if not files and not directory.exists():
    name = printable_path(str(directory))
    raise UserError(f"there is no job {name}: give audio files or folders")
  try:
    directory.mkdir(parents=True, exist_ok=True)
    with OutputLock(directory / manifests.NAME):
      manifest = manifests.settle(directory, settings, files)
      partitions.prepare(directory)
      return _run(directory, manifest, engine, file_seconds, num_failures, retry)
  except OSError as error:
    raise UserError(f"{directory}: cannot be written ({error.strerror or error})") from error


def _run(directory, manifest, engine, file_seconds, num_failures, retry) -> Summary:
  """Predict what is not finished of a job that this command has locked."""
  count_failed = functools.partial(partitions.count_failed, directory, manifest)
  done = partitions.finished(directory).intersection(range(manifest.num_partitions))
  failed = {number: count_failed(number) for number in done}
  if retry:
    done = {number for number in done if not failed[number]}
  todo = [number for number in range(manifest.num_partitions) if number not in done]
  work = Work(directory, manifest.settings, manifest.sha256, file_seconds)
  with tqdm(
    total=len(manifest.files),
    initial=sum(len(manifest.partition(number)) for number in done),
    unit="file",
    disable=None if todo else True,
    leave=False,
  ) as progress:
    for number in engine(work, ((number, manifest.partition(number)) for number in todo)):
      failed[number] = count_failed(number)
      progress.update(len(manifest.partition(number)))
  failures: list[tuple[str, str]] = []
  for number in sorted(failed):
    if failed[number] and len(failures) < num_failures:
      failures += [
        (prediction.file, prediction.error)
        for prediction in partitions.read_predictions(directory, manifest, number)
        if prediction.status == "failed"
      ]
  return Summary(
    len(manifest.files),
    manifest.num_partitions,
    len(done),
    sum(failed.values()),
    failures[:num_failures],
  )
