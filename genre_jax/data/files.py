"""Find audio files in folders, and identify the content of files."""

import hashlib
import os
from collections.abc import Iterator

from genre_jax.data.recognize import is_hidden
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


def list_files(folder, depth=None):
  """List the files below a folder, without hidden ones.

  Symbolic links are followed. A folder with several paths is listed once, and a link to a folder
  that contains `folder` is not followed, so loops end. A file with several paths counts once, by
  its real path if that is among them. Names that are not UTF-8 are escaped.

  Args:
    folder: Folder.
    depth: Number of levels of folders below `folder`; None for all.

  Returns:
    [(relative path, absolute path), ...], sorted.

  Raises:
    UserError: If a folder cannot be listed.
  """
  files: dict[str, tuple[str, str]] = {}
  for name, path in _walk(os.fspath(folder), depth):
    real = os.path.realpath(path)
    if real not in files or real == path:
      files[real] = name, path
  return sorted((_as_text(name), path) for name, path in files.values())


def _as_text(name: str) -> str:
  """Return a file name as text, also if the locale's encoding is not UTF-8 but the name is."""
  try:
    return os.fsencode(name).decode("utf-8")
  except UnicodeDecodeError:
    return name.encode("utf-8", "backslashreplace").decode()


def _walk(root: str, depth: int | None) -> Iterator[tuple[str, str]]:
  """Yield (relative path, absolute path) of each file; links to folders come last."""
  real_root = os.path.realpath(root)
  seen: set[str] = set()
  folders, links = [("", root, 0)], []
  while folders or links:
    prefix, folder, level = folders.pop() if folders else links.pop(0)
    real = os.path.realpath(folder)
    if real in seen or (folder != root and os.path.join(real, "") in _parents(real_root)):
      continue
    seen.add(real)
    try:
      entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
      raise UserError(
        f"--config.dataset.path={root}: {folder} cannot be listed: {error.strerror}."
      ) from error
    inner = []
    for entry in entries:
      if is_hidden(entry.name):
        continue
      if os.path.isdir(entry.path):
        if depth is None or level < depth:
          where = links if entry.is_symlink() else inner
          where.append((f"{prefix}{entry.name}/", entry.path, level + 1))
      else:
        yield prefix + entry.name, os.path.abspath(entry.path)
    folders += reversed(inner)


def _parents(path: str) -> set[str]:
  """Return the folders that contain a path, each with a separator at its end."""
  parts = path.split(os.sep)
  return {os.sep.join(parts[:count]) + os.sep for count in range(1, len(parts))}
