"""Replace a music file by a changed copy: it is the old or the new file at every moment."""

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from typing import BinaryIO

from genre_jax.files import move_into_place


class Refused(Exception):
  """A file is left as it is; the message is the reason."""


def temporary_path(path: str, token: str) -> str:
  """Return the path of the hidden copy beside a file.

  Args:
    path: The file, with links resolved.
    token: Name of the batch, different for every run of a command.
  """
  return os.path.join(os.path.dirname(path), f".genre_jax-{token}.tmp")


def refusal(path: str, facts: os.stat_result) -> str:
  """Return why a file is not replaced: its kind, hard links, or permissions; '' if it can be."""
  if not stat.S_ISREG(facts.st_mode):
    return "is not a regular file"
  if facts.st_nlink > 1:
    return f"has {facts.st_nlink} hard links, which a new file would separate"
  if not os.access(path, os.W_OK):
    return "is read-only"
  if not os.access(os.path.dirname(os.path.realpath(path)), os.W_OK):
    return "is in a folder that is read-only"
  return ""


def rewrite(
  path: str,
  temporary: str,
  make: Callable[[BinaryIO, BinaryIO], None],
  plan: Callable[[BinaryIO, BinaryIO], None],
  *,
  expected: tuple[int, int, int] | None = None,
  preserve_mtime: bool = False,
) -> None:
  """Replace a file.

  Args:
    path: The file, with links resolved.
    temporary: The copy to create in the same folder.
    make: Writes the new content: (open source, open copy).
    plan: Is called with both when the copy is on the disk, before it gets the name.
    expected: (size, mtime_ns, ctime_ns) that the file must have.
    preserve_mtime: Keep the time of the last change.

  Raises:
    Refused: If `refusal` has a reason, if the file changes meanwhile, or if its owner or attributes
      cannot be kept.
    OSError: If it cannot be read or written.
  """
  with open(path, "rb") as source:
    facts = os.fstat(source.fileno())
    if reason := refusal(path, facts):
      raise Refused(reason)
    if expected and _times(facts) != expected:
      raise Refused("changed since the scan; scan again")
    try:
      with open_temporary(temporary) as copy:
        make(source, copy)
        copy.flush()
        _copy_attributes(source.fileno(), copy.fileno(), facts)
        if preserve_mtime:
          os.utime(copy.fileno(), ns=(facts.st_atime_ns, facts.st_mtime_ns))
        os.fsync(copy.fileno())
        plan(source, copy)
      if _times(os.stat(path)) != _times(facts):
        raise Refused("was changed by another program meanwhile")
      move_into_place(temporary, path)
    except BaseException:
      with contextlib.suppress(OSError):
        os.unlink(temporary)
      raise


def open_temporary(path: str) -> BinaryIO:
  """Create a file for reading and writing that only its owner can open."""
  return open(path, "x+b", opener=lambda name, mode: os.open(name, mode, 0o600))


def _times(facts: os.stat_result) -> tuple[int, int, int]:
  return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _copy_attributes(source: int, copy: int, facts: os.stat_result) -> None:
  """Copy owner, extended attributes and mode from one open file to another."""
  own = os.fstat(copy)
  if (own.st_uid, own.st_gid) != (facts.st_uid, facts.st_gid):
    try:
      os.fchown(copy, facts.st_uid, facts.st_gid)
    except PermissionError as error:
      raise Refused("belongs to another user or group, which a new file cannot keep") from error
  for name, value in _attributes(source).items():
    if _attributes(copy).get(name) != value:
      try:
        os.setxattr(copy, name, value)
      except OSError as error:
        raise Refused(f"its attribute {name} cannot be copied: {error.strerror}") from error
  os.fchmod(copy, stat.S_IMODE(facts.st_mode))


def _attributes(descriptor: int) -> dict[str, bytes]:
  """Return the extended attributes of an open file; {} where there are no such attributes."""
  if not hasattr(os, "listxattr"):
    return {}
  try:
    return {name: os.getxattr(descriptor, name) for name in os.listxattr(descriptor)}
  except OSError as error:
    if error.errno in (errno.ENOTSUP, errno.ENODATA):
      return {}
    raise
