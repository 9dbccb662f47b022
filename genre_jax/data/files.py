"""Find audio files in folders, and identify the content of files."""

import hashlib
import os

from genre_jax.data import audio
from genre_jax.errors import UserError

STAMPED_BYTES = 4096  # of a file's beginning and of its end


def file_stamps(named_paths) -> str:
  """Hash over name, size, time of last change, beginning and end of files.

  For `Source.identity`. Times alone are not enough: archives and images are unpacked with fixed
  ones.
  """
  digest = hashlib.sha256()
  for name, path in named_paths:
    try:
      with open(path, "rb") as file:
        stat = os.stat(file.fileno())
        digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        digest.update(file.read(STAMPED_BYTES))
        file.seek(max(stat.st_size - STAMPED_BYTES, 0))
        digest.update(file.read(STAMPED_BYTES))
    except OSError:
      digest.update(f"{name}\0missing\n".encode())
  return digest.hexdigest()


def list_files(folder, depth):
  """Sorted files below a folder as (relative path, path), at most `depth` folders down, hidden ones
  left out.

  Symbolic links are followed; the depth bounds loops, and a file that is reached by several names
  counts once, by its own name if that is among them. Names that are not UTF-8 are escaped.
  """
  files: dict[str, tuple[str, str]] = {}
  for name, path in _walk(folder, depth):
    real = os.path.realpath(path)
    if real not in files or real == path:
      files[real] = name, path
  return sorted(
    (name.encode("utf-8", "backslashreplace").decode(), path) for name, path in files.values()
  )


def _walk(folder, depth):
  """Yields (relative path, absolute path) of the files that `list_files` is to sift."""
  try:
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
  except OSError as error:
    raise UserError(
      f"--config.dataset.path={folder}: cannot be listed: {error.strerror}."
    ) from error
  for entry in entries:
    if entry.name.startswith("."):
      continue
    if entry.is_dir():
      if depth > 0:
        for name, path in _walk(entry.path, depth - 1):
          yield f"{entry.name}/{name}", path
    else:
      yield entry.name, os.path.abspath(entry.path)


def is_audio_name(name):
  """Whether a file name ends as audio files do."""
  return name.lower().endswith(audio.EXTENSIONS)
