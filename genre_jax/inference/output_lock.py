"""Let one command at a time write an output file."""

import contextlib
import errno
import fcntl
import os
import pathlib
import weakref

from genre_jax.errors import UserError

# By these an operating system reports a file system without locks.
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
MOST_TRIES = 100


class OutputLock:
  """Lock an output file against other commands.

  The lock is on `.NAME.lock` beside the file, because a file that is replaced takes a lock on
  itself with it. Where that cannot be created, the lock is on the file. It ends with this object,
  or with a `with` block; the operating system releases it when the process ends, however it ends.
  On a file system without locks nothing is locked.

  Args:
    path: The file, with links resolved; its folder exists.

  Raises:
    UserError: If another command has the lock.
    OSError: If the lock cannot be created.
  """

  def __init__(self, path: pathlib.Path):
    beside = path.with_name(f".{path.name}.lock")
    for _ in range(MOST_TRIES):
      descriptor, name = _open(beside, path)
      if descriptor is None:
        break
      try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError as error:
        os.close(descriptor)
        raise UserError(
          f"{path} is being written by another command: wait until that ends, or give another file"
        ) from error
      except OSError as error:
        os.close(descriptor)
        if error.errno not in WITHOUT_LOCKS:
          raise
        if name == beside:
          _remove(beside)
        break
      if name == path or _is_open(descriptor, beside):
        # Not a method: the lock must not keep itself alive.
        self.release = weakref.finalize(
          self, _release, descriptor, beside if name == beside else None
        )
        return
      os.close(descriptor)  # another command has removed the file and released its lock meanwhile
    self.release = weakref.finalize(self, _release, None, None)

  def __enter__(self) -> "OutputLock":
    return self

  def __exit__(self, *_: object) -> None:
    self.release()


def _open(beside: pathlib.Path, path: pathlib.Path) -> tuple[int | None, pathlib.Path]:
  """Open the file to lock: (descriptor, its path); None if neither can be opened for writing."""
  try:
    return os.open(beside, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), beside
  except OSError as error:
    if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP):
      raise
  try:
    return os.open(path, os.O_RDWR), path
  except OSError:  # writing it reports the reason
    return None, path


def _is_open(descriptor: int, path: pathlib.Path) -> bool:
  """Return whether a path still leads to an open file."""
  try:
    return os.path.samestat(os.fstat(descriptor), os.stat(path))
  except FileNotFoundError:
    return False


def _release(descriptor: int | None, beside: pathlib.Path | None) -> None:
  if beside is not None:
    _remove(beside)
  if descriptor is not None:
    os.close(descriptor)


def _remove(path: pathlib.Path) -> None:
  with contextlib.suppress(OSError):
    path.unlink()
