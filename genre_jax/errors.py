"""Exceptions that end a command without a traceback, and a hint for misspelled names."""

import difflib
from collections.abc import Iterable

LOST = 75  # exit status EX_TEMPFAIL, of a process of a training that lost another one


class UserError(Exception):
  """An error in a path, flag or file that the user can fix.

  The message says what is wrong, where, and what to do. Commands print it and exit with status 2.
  """


class Interrupted(Exception):
  """A signal stopped training after a checkpoint; the argument is the number of the signal."""


def did_you_mean(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
  """Return a hint at the name nearest to a misspelled one.

  Args:
    name: The unknown name.
    names: The known names.
    cutoff: Least similarity of the hint, from 0 (always give one) to 1, as in
      `difflib.get_close_matches`.

  Returns:
    ' (did you mean NEAREST?)', or '' if no name is near enough.
  """
  near = difflib.get_close_matches(name, list(names), 1, cutoff)
  return f" (did you mean {near[0]}?)" if near else ""


def missing_extra(what: str, package: str, extra: str) -> UserError:
  """Return the error for a feature whose optional package is not installed.

  Args:
    what: The feature as the user requested it, such as '--format=parquet'.
    package: The package that could not be imported.
    extra: The extra of pyproject.toml that installs it.
  """
  return UserError(f"{what} needs {package}: pip install 'genre-jax[{extra}]'")
