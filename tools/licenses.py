"""Write docs/development/licenses.md: the licenses of all dependencies: `python tools/licenses.py`.

Reads pyproject.toml and the metadata of the installed packages. What a package that is not
installed needs is unknown: install all extras, or set PYTHONPATH to the site-packages of further
environments.
"""

import importlib.metadata
import pathlib
import re
import sys
import tomllib

import av
from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PAGE = ROOT / "docs/development/licenses.md"
LONGEST = 40  # characters of a license; some packages put its whole text there
HEAD = """# Licenses of dependencies

`python tools/licenses.py` writes this page from the metadata of the installed packages. genre_jax
itself has the Apache License 2.0. A package without an extra is always installed.

The wheel of PyAV contains FFmpeg, which reports the license {ffmpeg}.
It also contains these libraries under the GPL: {gpl}. They encode video, and this
project does not call them.

"""
GPL = ("libx264", "libx265", "libxvid", "librubberband", "libvidstab")


def normal(name: str) -> str:
  """Return the normal form of the name of a package (PEP 503)."""
  return re.sub(r"[-_.]+", "-", name).lower()


def license_of(metadata) -> str:
  """Return a license as short text."""
  if expression := metadata.get("License-Expression"):
    return expression
  classifiers = [
    value.split(" :: ")[-1]
    for value in metadata.get_all("Classifier") or []
    if value.startswith("License :: ") and value != "License :: OSI Approved"
  ]
  text = (metadata.get("License") or "").strip()
  if text and "\n" not in text and len(text) <= LONGEST:
    return text
  return ", ".join(classifiers) or (text.splitlines() or ["not stated"])[0][:LONGEST]


def requirements(name: str, extras: set[str]) -> list[Requirement]:
  """Return what a package needs with some of its extras, on this machine."""
  if name == PROJECT["name"]:
    texts = PROJECT["dependencies"] + [text for extra in extras for text in EXTRAS[extra]]
  else:
    texts = importlib.metadata.requires(name) or []
  found = []
  for text in texts:
    requirement = Requirement(text)
    environments = [{"extra": extra} for extra in extras or {""}]
    if not requirement.marker or any(map(requirement.marker.evaluate, environments)):
      found.append(requirement)
  return found


def closure(extra: str) -> set[str]:
  """Return all packages that an extra installs, '' for those that are always installed."""
  seen: set[tuple[str, frozenset[str]]] = set()
  todo = [Requirement(PROJECT["name"] + (f"[{extra}]" if extra else ""))]
  while todo:
    requirement = todo.pop()
    key = normal(requirement.name), frozenset(requirement.extras)
    if key in seen:
      continue
    seen.add(key)
    try:
      todo += requirements(requirement.name, requirement.extras)
    except importlib.metadata.PackageNotFoundError:
      continue
  return {name for name, _ in seen} - {normal(PROJECT["name"])}


def page() -> str:
  """Return the page."""
  always = closure("")
  users: dict[str, list[str]] = {name: [] for name in always}
  for extra in sorted(EXTRAS):
    for name in closure(extra) - always:
      users.setdefault(name, []).append(extra)
  lines = ["| package | version | license | extra |", "|---|---|---|---|"]
  for name in sorted(users):
    try:
      metadata = importlib.metadata.metadata(name)
      row = metadata["Name"], metadata["Version"], license_of(metadata)
    except importlib.metadata.PackageNotFoundError:
      row = name, "", "not installed here"
    lines.append("| " + " | ".join([*row, ", ".join(users[name])]) + " |")
  codecs = av._core.library_meta["libavcodec"]
  used = [library for library in GPL if f"--enable-{library}" in codecs["configuration"]]
  head = HEAD.format(ffmpeg=codecs["license"], gpl=", ".join(used) or "none")
  return head + "\n".join(lines) + "\n"


def main() -> int:
  """Write the page."""
  PAGE.write_text(page(), encoding="utf-8")
  print(f"written   {PAGE.relative_to(ROOT)}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
