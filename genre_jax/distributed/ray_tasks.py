"""What tasks of Ray compute: partitions of a job, songs of a library, shards of a prepared set.

The functions whose names end in `_task` run in worker processes of Ray, the others in the process
of the command. This module imports neither Ray nor JAX before they are needed.
"""

import contextlib
import functools
import os
import socket
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

from genre_jax.distributed.manifest import File
from genre_jax.distributed.ray_engine import cluster, map_partitions
from genre_jax.distributed.tries import MOST_TRIES
from genre_jax.errors import UserError

DEADLY = f"ended the process that analyzed it, {MOST_TRIES} times with this file alone"


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


def read_songs(
  paths: Sequence[str],
  model: tuple[str, str, str],
  file_seconds: float,
  partition_files: int,
  *,
  address: str,
) -> Generator[tuple[str, Any]]:
  """Read and analyze music files for the library.

  Args:
    paths: The files.
    model: As of `predict_all`.
    file_seconds: Time to read a file, as of `predict_files.predict`.
    partition_files: Number of files of a partition.
    address: As of `ray_engine.cluster`.

  Yields:
    Each path and its song with an analysis, or the reason why the file was not read, in any order.

  Raises:
    UserError: If there is no cluster, or a machine lacks the model.
  """
  shared = model, file_seconds
  parts = ((paths[i : i + partition_files],) for i in range(0, len(paths), partition_files))
  alone: list[str] = []
  with cluster(address) as ray:
    for (part,), songs in map_partitions(ray, songs_task, shared, parts, MOST_TRIES):
      if songs is None:
        alone += part
      else:
        yield from zip(part, songs, strict=True)
    singles = (([path],) for path in alone)
    for ((path,),), songs in map_partitions(ray, songs_task, shared, singles, MOST_TRIES):
      yield path, DEADLY if songs is None else songs[0]


def songs_task(model, file_seconds, paths) -> list:
  """Read and analyze music files; return their songs, or reasons."""
  from genre_jax.library.analysis import with_analysis
  from genre_jax.library.read_song import read_songs

  loaded, calls = _kept(*model, "genre_jax.library.read_song")
  then = functools.partial(with_analysis, model=loaded)
  songs = read_songs(paths, loaded.frontend, calls, 1, file_seconds, then)
  with contextlib.closing(songs):
    return [song for _, song in songs]


def write_shards(work, shards: Iterable[tuple[int, Sequence]], *, address: str) -> Iterator[int]:
  """Write shards of a prepared set.

  Args:
    work: As of `shards.write_shard`, with an absolute folder.
    shards: Number and clips of each shard; consumed as needed.
    address: As of `ray_engine.cluster`.

  Yields:
    The number of each shard that was written.

  Raises:
    UserError: If there is no cluster, a machine lacks the folder, or a shard cannot be written.
  """
  with cluster(address) as ray:
    shared = work, os.getcwd()
    for (number, clips), done in map_partitions(ray, shard_task, shared, shards, MOST_TRIES):
      if done is None:
        raise UserError(
          f"--engine=ray: the process that prepared {clips[0].track} to {clips[-1].track} ended"
          f" {MOST_TRIES} times: remove the track that crashes its decoder or needs too much memory"
          " (finished shards are kept)"
        )
      yield number


def shard_task(work, directory, number, clips) -> int:
  """Write a shard in the working folder of the command, return its number."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # as command_line.run: no import of Keras
  from genre_jax.data.shards import log_mel_of, write_shard

  for folder in (directory, work.folder):
    if not os.path.isdir(folder):
      raise UserError(
        f"--engine=ray: {socket.gethostname()} has no folder {folder}: use a disk that all machines"
        " share"
      )
  with contextlib.chdir(directory):  # paths of readers may be relative to it
    log_mels = (log_mel_of(work.reader, work.frontend, clip) for clip in clips)
    write_shard(work, number, clips, log_mels)
  return number


@functools.cache
def _kept(name, labels, sha256, reader):
  """Return the model and the decoder of this process, which later tasks use too."""
  # A task has one core, and no accelerator: the networks are small.
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  from genre_jax.data.isolated_calls import IsolatedCalls
  from genre_jax.inference.model_dir import model_hash

  calls = IsolatedCalls([reader])
  calls.start()
  from genre_jax.inference import kept_programs, model

  kept_programs.keep()
  model.compute_in_calling_thread()
  loaded = model.load(name, labels)
  if model_hash(loaded) != sha256:
    raise UserError(
      f"--model={name}: {socket.gethostname()} has another model of this name; install the same"
      " model on every machine, then repeat the command"
    )
  return loaded, calls
