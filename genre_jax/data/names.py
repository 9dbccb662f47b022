"""Normalize, compare and print names of genres, artists and files, and find files by their names.

One name can be stored in several ways that look alike: with composed or decomposed accents (NFC,
NFD), with other blanks, with invisible characters, or in another case. Names in normal form are
never changed.
"""

import os
import re
import unicodedata
from collections.abc import Iterable

# Soft hyphen, joiners without effect, marks of direction, zero-width space, byte-order mark.
INVISIBLE = re.compile(
  "[\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]"
)
# These change the shape of letters in some scripts: a name keeps them, a comparison does not.
SHAPING = re.compile("[\u200c\u200d\ufe00-\ufe0f]")


def normal_name(name: str) -> str:
  """Return a name in NFC, without invisible characters, with single blanks between words."""
  return " ".join(INVISIBLE.sub("", unicodedata.normalize("NFC", name)).split())


def name_key(name: str) -> str:
  """Return the form in which all spellings of a name are equal."""
  text = unicodedata.normalize("NFD", SHAPING.sub("", normal_name(name)))
  return unicodedata.normalize("NFC", text.casefold())


def printable_path(path: str) -> str:
  """Return a path as one line of text, with control characters and non-UTF-8 bytes escaped."""
  text = os.fsencode(path).decode("utf-8", "backslashreplace")
  return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def normal_names(text: str) -> str:
  """Return a comma-separated list of names with each name in normal form."""
  return ",".join(map(normal_name, text.split(",")))


def describe_spellings(first: str, second: str) -> str:
  """Return two spellings of a name and what distinguishes them, with invisible parts escaped."""
  form = {name: unicodedata.normalize("NFC", name) == name for name in (first, second)}
  differences = {
    "upper and lower case": [normal_name(name) for name in form],
    "Unicode normal form": list(form.values()),
    "blanks": [re.findall(r"^\s+|(?<!^)\s+", name) for name in form],
    "invisible characters": [SHAPING.findall(name) + INVISIBLE.findall(name) for name in form],
  }
  reasons = [reason for reason, (one, other) in differences.items() if one != other]

  def shown(name: str) -> str:
    if form[first] == form[second]:
      return repr(name)
    return f"{name!r} ({ascii(name)}, {'NFC' if form[name] else 'NFD'})"

  return f"{shown(first)} and {shown(second)} differ in {' and '.join(reasons) or 'spelling'}"


def spelling_pairs(names: Iterable[str]) -> list[tuple[str, str]]:
  """Return (alphabetically first spelling, other spelling) of names with several spellings."""
  first: dict[str, str] = {}
  pairs = [(first.setdefault(name_key(name), name), name) for name in sorted(set(names))]
  return [(before, name) for before, name in pairs if before != name]


class FileFinder:
  """Find files by names whose normal form, case or separators differ from those on disk.

  The content of folders is remembered: the files must not change while a finder is used.
  """

  def __init__(self):
    self._folders: dict[str, dict[str, list[str]]] = {}

  def find(self, root: str | os.PathLike, name: str) -> str:
    r"""Find a file.

    Args:
      root: Folder that `name` is relative to.
      name: Path as a table gives it; `\` separates folders if there is no file of that very name.

    Returns:
      Path of the file; '' if it does not exist, or if several files differ only in spelling.
    """
    path = os.path.join(root, name)
    if os.path.isfile(path):
      return path
    found = self._similar(os.fspath(root), name)
    return found or ("\\" in name and self.find(root, name.replace("\\", "/"))) or ""

  def _similar(self, root: str, name: str) -> str:
    """Return the file whose path equals a name part by part in any spelling, or ''."""
    path = "/" if os.path.isabs(name) else root
    for part in filter(None, os.path.normpath(name).split("/")):
      exact = os.path.join(path, part)
      if not os.path.lexists(exact):
        similar = self._entries(path).get(name_key(part), [])
        if len(similar) > 1:  # they may differ in case
          similar = [other for other in similar if normal_name(other) == normal_name(part)]
        if len(similar) != 1:
          return ""
        exact = os.path.join(path, similar[0])
      path = exact
    return path if os.path.isfile(path) else ""

  def _entries(self, folder: str) -> dict[str, list[str]]:
    """Return {key: names} of the entries of a folder; {} if it cannot be listed."""
    if folder not in self._folders:
      entries: dict[str, list[str]] = {}
      try:
        for entry in os.listdir(folder or "."):
          entries.setdefault(name_key(entry), []).append(entry)
      except OSError:
        pass
      self._folders[folder] = entries
    return self._folders[folder]
