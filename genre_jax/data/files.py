"""Find audio files in folders, and identify the content of files."""

import hashlib
import os

from genre_jax.data import audio
from genre_jax.errors import UserError

STAMPED_BYTES = 4096  # read at the beginning and at the end of a file


def file_stamps(named_paths) -> str:
  """Return a hash of name, size, modification time, beginning and end of files.

  Times alone do not suffice, because archives and disk images are unpacked with fixed times.

  Args:
    named_paths: (name, path) of each file.
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
  """List the files below a folder, without hidden ones.

  Symbolic links are followed; `depth` bounds loops. A file with several paths counts once, by its
  real path if that is among them. Names that are not UTF-8 are escaped.

  Args:
    folder: Folder.
    depth: Number of levels of folders below `folder`.

  Returns:
    [(relative path, absolute path), ...], sorted.

  Raises:
    UserError: If a folder cannot be listed.
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
  """Yield (relative path, absolute path) of each file, repetitions included."""
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
  """Return True if a file name has an extension of an audio file."""
  return name.lower().endswith(audio.EXTENSIONS)
