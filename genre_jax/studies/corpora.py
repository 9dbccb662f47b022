"""Find the folder of a corpus from a flag or from the environment variable GENRE_JAX_DATA."""

import os
import pathlib

from genre_jax.errors import UserError

VARIABLE = "GENRE_JAX_DATA"


def find_corpus(name: str, given: str = "", content: str = "") -> pathlib.Path:
  """Return a corpus, or a file or folder in it.

  Args:
    name: Name of the corpus, which is its folder in $GENRE_JAX_DATA: 'gtzan' or 'fsdd'.
    given: Value of the flag --data, the folder of the corpus; '' uses $GENRE_JAX_DATA.
    content: File or folder in the corpus; '' for the corpus itself.

  Returns:
    An existing path.

  Raises:
    UserError: If neither the flag nor the variable is given, or the path does not exist.
  """
  if given:
    folder, source = pathlib.Path(given), "--data"
  elif root := os.environ.get(VARIABLE):
    folder, source = pathlib.Path(root) / name, VARIABLE
  else:
    raise UserError(
      f"no corpus given: give the folder of {name} with --data, or set {VARIABLE} to the folder"
      f" that contains {name}/"
    )
  path = folder / content
  if not path.exists():
    raise UserError(f"{path} does not exist: correct {source}, which names the folder of {name}")
  return path
