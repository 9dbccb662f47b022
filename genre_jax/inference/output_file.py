"""Find the place of an output file, and turn errors of reading and writing it into messages."""

import contextlib
import pathlib

from genre_jax.errors import UserError


def regular_file(path: pathlib.Path) -> pathlib.Path:
  """Resolve the links of a path.

  Raises:
    UserError: If the path exists and is not a regular file, such as /dev/null.
  """
  path = path.resolve()
  if path.exists() and not path.is_file():
    raise UserError(f"{path} is not a regular file: give another")
  return path


@contextlib.contextmanager
def disk_errors(path: pathlib.Path | None):
  """Turn an OSError, such as a full disk, into a UserError.

  Args:
    path: The file that is written; None for standard output, whose errors `command_line.py`
      handles.
  """
  try:
    yield
  except OSError as error:
    if path is None:
      raise
    raise unusable(path, error) from error


def unusable(path: pathlib.Path, error: Exception) -> UserError:
  """Return the error for a file that cannot be read or written."""
  reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
  return UserError(f"{path}: cannot be read or written ({reason})")


def other_columns(path: pathlib.Path) -> UserError:
  """Return the error for a file with other columns than the predictions to be written."""
  return UserError(
    f"{path} contains predictions of another model or with other columns; give another file, or"
    " delete it"
  )
