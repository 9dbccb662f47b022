"""Read a music file for the library: tags, log-mel and hash of the sound, in a worker process."""

import dataclasses
import hashlib
import os
from typing import Any

from genre_jax.data.frontend import FrontendConfig
from genre_jax.inference.track_log_mel import TrackLogMel, read_track_log_mel
from genre_jax.library import tags


@dataclasses.dataclass(frozen=True)
class Song:
  """What was read from a file.

  Attributes:
    stat: (size, mtime_ns, ctime_ns, inode) before it was read.
    tags: As `tags.describe` returns them.
    track: The log-mel, or the reason why the file cannot be used.
    sound: SHA-256 of the decoded sound; None if it cannot be used.
  """

  stat: tuple[int, int, int, int]
  tags: dict[str, Any]
  track: TrackLogMel | str
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
