"""Read a music file for the library: tags, log-mel and hash of the sound, in a worker process."""

import contextlib
import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Callable, Generator, Sequence
from typing import Any

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.isolated_calls import IsolatedCalls, workers_for
from genre_jax.inference.track_log_mel import TrackLogMel, read_track_log_mel
from genre_jax.library import tags


@dataclasses.dataclass(frozen=True)
class Analysis:
  """What a model made of a track, as the library stores it.

  Attributes:
    seconds: Length of the track.
    label: The genre, or tags joined by ';'.
    confidence: Highest probability.
    probabilities: float32[classes].
    embedding: float16[features].
    error: Reason why there is no analysis, else ''.
  """

  seconds: float
  label: str = ""
  confidence: float = 0.0
  probabilities: bytes = b""
  embedding: bytes = b""
  error: str = ""


@dataclasses.dataclass(frozen=True)
class Song:
  """What was read from a file.

  Attributes:
    stat: (size, mtime_ns, ctime_ns, inode) before it was read.
    tags: As `tags.describe` returns them.
    track: The log-mel, or its analysis, or the reason why the file cannot be used.
    sound: SHA-256 of the decoded sound; None if it cannot be used.
  """

  stat: tuple[int, int, int, int]
  tags: dict[str, Any]
  track: TrackLogMel | Analysis | str
  sound: bytes | None


def stat_of(path: str) -> tuple[int, int, int, int]:
  """Return (size, mtime_ns, ctime_ns, inode) of a file.

  Raises:
    OSError: If it cannot be read.
  """
  facts = os.stat(path)
  return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino


def read_song(path: str, frontend: FrontendConfig, folder: str) -> Song | str:
  """Read a file; the unit of work of a worker process.

  Args:
    path: The file.
    frontend: The front end.
    folder: Folder for the frames of a long file.

  Returns:
    The song, or the reason why there is no such file.
  """
  try:
    stat = stat_of(path)
  except OSError as error:
    return f"cannot be read: {error.strerror or error}"
  digest = hashlib.sha256()
  track = read_track_log_mel(path, frontend, folder, digest=digest)
  usable = not isinstance(track, str)
  # Opening a pipe to read its tags would wait for a writer.
  known = tags.describe(path) if os.path.isfile(path) else {"genres": {}}
  return Song(stat, known, track, digest.digest() if usable else None)


def read_songs(
  paths: Sequence[str],
  frontend: FrontendConfig,
  calls: IsolatedCalls,
  workers: int,
  seconds: float,
  then: Callable[[str, Song | str], Song | str] = lambda path, song: song,
) -> Generator[tuple[str, Song | str]]:
  """Read files in worker processes.

  Args:
    paths: The files.
    frontend: The front end.
    calls: Worker processes; they remain open.
    workers: Number of them, and of threads; 0 for one per core.
    seconds: Time to read a file, plus a tenth of its length; 0 for no limit.
    then: Gets each path and song in a thread of this process, and returns the song to yield.

  Yields:
    Each path and its song, or the reason why the file was not read, in order.
  """
  workers = workers or workers_for(len(paths))
  with tempfile.TemporaryDirectory(prefix="genre_jax-") as folder:
    tasks = ((path, frontend, folder) for path in paths)
    results = calls.results(
      read_song, tasks, workers, seconds, lambda task, song: then(task[0], song)
    )
    with contextlib.closing(results) as songs:
      yield from zip(paths, songs, strict=True)
