"""Read the pages of the documentation: commands, links, headings."""

import pathlib
import re
import shlex
from collections.abc import Iterator

from tests.conftest import ROOT

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]

# `genre-jax predict`, `python -m genre_jax predict`, `python -m genre_jax.predict`, and the same of
# run.sh and benchmarks.
COMMAND = re.compile(
  r"(?:genre-jax|\./run\.sh|python -m genre_jax)[ .](?P<command>[a-z]+)\b(?P<rest>.*)"
  r"|python -m benchmarks\.(?P<benchmark>\w+)(?P<arguments>.*)"
)
PLACEHOLDER = re.compile(r"[A-Z]+(?:_[A-Z]+)*")


def lines_of_code(text: str) -> Iterator[str]:
  """Yield the lines of indented and fenced blocks, continued lines joined, and inline code."""
  text = re.sub(r"```python\n.*?```", "", text, flags=re.S)
  text = re.sub(r"\\\n\s+", "", text)
  # A usage that is continued without a backslash: an indented line that begins with a bracket.
  text = re.sub(r"\n {8,}(?=\[)", " ", text)
  inside = False
  for line in text.splitlines():
    if line.startswith("```"):
      inside = not inside
    elif inside or line.startswith("    "):
      yield line.strip()
    else:
      yield from re.findall(r"`([^`]+)`", line)


def commands_of(text: str) -> Iterator[tuple[str, list[str]]]:
  """Yield (name, arguments) of the commands that a page shows.

  The name is that of a command of genre-jax, 'bench', or 'benchmarks.NAME'. Optional parts in
  brackets are taken as given, the first of several alternatives is chosen, and what is only a
  placeholder (`--seeds=N`) becomes a flag without a value.
  """
  for line in lines_of_code(text):
    if not (match := COMMAND.search(line)):
      continue
    name = match["command"] or f"benchmarks.{match['benchmark']}"
    rest = match["rest"] if match["command"] else match["arguments"]
    rest = re.sub(r"\s#.*| [|&] .*| && .*", "", rest.replace("[", " ").replace("]", " "))
    arguments = []
    for argument in shlex.split(rest):
      if argument in ("...", "FLAGS") or argument.startswith("--config.FIELD"):
        continue
      flag, equals, value = argument.rstrip(".").partition("=")
      value = value.split("|")[0]
      arguments.append(flag if PLACEHOLDER.fullmatch(value) else flag + equals + value)
    yield name, arguments


def links_of(text: str) -> Iterator[str]:
  """Yield the targets of links and pictures."""
  text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
  yield from re.findall(r"\]\(([^()\s]+)\)", text)


def anchors_of(path: pathlib.Path) -> set[str]:
  """Return the anchors of a page's headings, as MkDocs and code hosts make them."""
  text = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
  found: set[str] = set()
  for heading in re.findall(r"^#+ (.*)$", text, re.M):
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    found.add(re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", plain)))
  return found | set(re.findall(r'(?:id|name)="([^"]+)"', text))
