"""Find the place of an output file, and turn errors of reading and writing it into messages."""

import contextlib
import os
import pathlib
import stat

from genre_jax.errors import UserError

OPTIONAL_COLUMNS = ("note",)  # files of earlier versions lack them


def regular_file(path: pathlib.Path) -> pathlib.Path:
  """Resolve the links of a path, and create the folder.

  Raises:
    UserError: If the path exists and is not a regular file, such as /dev/null, or the folder cannot
      be created or read.
  """
  with disk_errors(path):
    path = pathlib.Path(os.path.realpath(path))
    try:
      mode = path.stat().st_mode
    except FileNotFoundError:
      path.parent.mkdir(parents=True, exist_ok=True)
      return path
  if not stat.S_ISREG(mode):
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
  reason = getattr(error, "strerror", None) or (str(error).splitlines() or [repr(error)])[0]
  return UserError(f"{path}: cannot be read or written ({reason})")


def other_columns(path: pathlib.Path) -> UserError:
  """Return the error for a file with other columns than the predictions to be written."""
  return UserError(
    f"{path} contains predictions of another model or with other columns; give another file"
  )


def not_predictions(path: pathlib.Path, reason) -> UserError:
  """Return the error for a file that contains something else."""
  return UserError(
    f"--out={path} contains something other than predictions ({reason}); give another file"
  )
