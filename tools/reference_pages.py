"""Write docs/reference/cli.md and docs/reference/config.md from the code.

    python tools/reference_pages.py [--check]

The flags come from the command modules. The config fields and their comments come from
experiments/base.py. With --check nothing is written, and the exit status is 1 if a page is not up
to date.
"""

import argparse
import ast
import dataclasses
import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
NOTE = "<!-- Written by `python tools/reference_pages.py`. Do not edit. -->"

# Command: (what follows the flags on its command line, its how-to page).
COMMANDS = {
  "predict": ("FILES_OR_FOLDERS...", "predict"),
  "job": ("predict|merge DIR [FILES_OR_FOLDERS...]", "job"),
  "library": ("COMMAND [PATHS...]", "library"),
  "stream": ("", "stream"),
  "page": ("", "page"),
  "export": ("", "export"),
  "pretrained": ("list | fetch [NAME] | pack RUN", "pretrained"),
  "prepare": ("", "prepare"),
  "main": ("", "train"),
  "launch": ("main --config=FILE [FLAGS]", "distributed"),
  "table": ("RUN...", "table"),
  "sweep": ("", "sweep"),
  "compare": ("RUN RUN...", "compare"),
  "audit": ("", "audit"),
  "protocol": ("NAME", "protocol"),
}

# Prints the flags of the modules that are named on its command line, one process for all: each
# module is imported with an empty set of flags.
_DUMP = """
import importlib, json, os, sys
from absl import flags
from genre_jax import cli, command_line
commands = {}
for command in sys.argv[1:]:
  reader, writer = os.pipe()
  child = os.fork()
  if child == 0:
    name = cli.module_of(command)
    module = importlib.import_module(name)
    own = flags.FLAGS.flags_by_module_dict().get(name, [])
    fields = [
      {
        "name": flag.name,
        "help": " ".join(flag.help.split()),
        "default": flag.default,
        "kind": flag.flag_type(),
        "values": list(getattr(flag.parser, "enum_values", [])),
      }
      for flag in own if flag.name != "config"
    ]
    with os.fdopen(writer, "w") as file:
      json.dump(
        {"doc": module.__doc__, "flags": fields, "config": "config" in flags.FLAGS}, file)
    os._exit(0)
  os.close(writer)
  with os.fdopen(reader) as file:
    commands[command] = json.load(file)
  os.waitpid(child, 0)
print(json.dumps(commands))
"""


@dataclasses.dataclass(frozen=True)
class Field:
  """A config field.

  Attributes:
    name: dotted, as `optimizer.learning_rate`.
    default: Python source of its default.
    text: what its comments say.
  """

  name: str
  default: str
  text: str


def read_flags(commands=tuple(COMMANDS)) -> dict[str, dict]:
  """Return {command: {"doc": docstring, "flags": [...], "config": whether it takes --config}}."""
  done = subprocess.run(
    [sys.executable, "-c", _DUMP, *commands],
    cwd=ROOT,
    check=True,
    capture_output=True,
    text=True,
  )
  return json.loads(done.stdout)


def cli_page(commands: dict[str, dict]) -> str:
  """Return the Markdown page about every command and its flags."""
  lines = [
    "# Commands",
    "",
    NOTE,
    "",
    *_wrapped(
      "Each command is `genre-jax COMMAND [FLAGS] ...`, the same as"
      " `python -m genre_jax COMMAND ...` and, in a checkout, `./run.sh COMMAND ...`. A Boolean"
      " flag is switched on by `--flag` and off by `--noflag`. Commands that take `--config` also"
      " accept every [config field](config.md) as `--config.FIELD=VALUE`."
    ),
    "",
    *_wrapped(
      "Exit status: 0 for success, 1 if a part failed (a file, a run), 2 for a mistake in the"
      " command or its data, and 128 + N after signal N."
    ),
  ]
  for command, facts in commands.items():
    positional, page = COMMANDS[command]
    config = " --config=FILE" if facts["config"] else ""
    usage = f"genre-jax {command}{config} [FLAGS] {positional}".rstrip()
    summary, _, rest = facts["doc"].partition("\n")
    summary = re.sub(r": `python -m .*$", "", summary).rstrip(".")
    lines += ["", f"## {command}", "", f"{summary}.", "", f"    {usage}", ""]
    if text := " ".join(rest.split()):
      lines += [*_wrapped(text), ""]
    lines += [f"How to use it: [{command}](../how-to/{page}.md).", ""]
    if facts["flags"] or facts["config"]:
      lines += ["| flag | default | meaning |", "|---|---|---|"]
    if facts["config"]:
      lines.append("| `--config` | | Experiment, a file of `experiments/`. Required. |")
    for flag in facts["flags"]:
      default = _default(flag)
      lines.append(f"| `--{flag['name']}` |{default}| {_meaning(flag)} |")
  return "\n".join(lines).rstrip() + "\n"


def _default(flag: dict) -> str:
  value = flag["default"]
  if value is None or value == "" or value == []:
    return " "
  return f" `{str(value).lower() if isinstance(value, bool) else value}` "


def _meaning(flag: dict) -> str:
  text = re.sub(r"^<[\w|]*>: ", "", flag["help"])
  text = re.sub(r";? repeat this option to specify a list of values$", "", text)
  text = text.replace("|", "\\|").replace("<", "&lt;")
  if values := [value for value in flag["values"] if value]:
    text = f"{text.rstrip('.')}. One of {', '.join(f'`{value}`' for value in values)}."
  return text


def _wrapped(text: str, width: int = 100) -> list[str]:
  """Return text in lines of at most `width` characters."""
  lines, line = [], ""
  for word in text.split():
    if line and len(line) + 1 + len(word) > width:
      lines.append(line)
      line = word
    else:
      line = f"{line} {word}".strip()
  return [*lines, line]


def read_fields() -> tuple[dict[str, str], list[Field]]:
  """Return {group: its comment} and the fields of experiments/base.py with their comments.

  Comments above a line or at its end belong to it. Fields of the front end are documented in
  FrontendConfig, those of the augmentation in `augment.DEFAULTS`.
  """
  groups: dict[str, str] = {"": ""}
  fields: list[Field] = []
  source = (ROOT / "experiments" / "base.py").read_text()
  for target, value, text in _assignments(source, r"config\.([\w.]+) = "):
    if value == "ConfigDict()" or value.startswith("ConfigDict("):
      groups[target] = text
      if target == "augment":
        fields += [Field(f"augment.{name}", default, text) for name, default, text in _augment()]
    else:
      fields.append(Field(target, value, text))
  described = _attributes(ROOT / "genre_jax" / "data" / "frontend.py", "FrontendConfig")
  fields = [
    dataclasses.replace(field, text=_joined(described[field.name.split(".")[1]], field.text))
    if field.name.startswith("frontend.")
    else field
    for field in fields
  ]
  return groups, fields


def _joined(text: str, more: str) -> str:
  return f"{text.rstrip('.')}. {more}".strip() if more else text


def _assignments(source: str, pattern: str) -> Iterator[tuple[str, str, str]]:
  """Yield (target, source of the value, comment) of the lines that match a pattern."""
  comment: list[str] = []
  for line in source.splitlines():
    stripped = line.strip()
    if stripped.startswith("#"):
      comment.append(stripped.lstrip("# "))
      continue
    if match := re.match(pattern, stripped):
      value, _, inline = stripped[match.end() :].partition("  # ")
      text = " ".join([*comment, *([inline] if inline else [])])
      yield match.group(1), value.rstrip(","), text
    comment = []


def _augment() -> Iterator[tuple[str, str, str]]:
  """Yield (name, source of the default, comment) of each entry of `augment.DEFAULTS`."""
  text = (ROOT / "genre_jax" / "training" / "augment.py").read_text()
  entries = text.partition("DEFAULTS = {\n")[2].partition("\n}")[0]
  yield from _assignments(entries, r'"(\w+)": ')


def _attributes(path: pathlib.Path, name: str) -> dict[str, str]:
  """Return {attribute: its description} from the docstring of a class.

  Names of constants of the module, such as WINDOWS, are replaced by their values.
  """
  tree = ast.parse(path.read_text())
  constants = {
    node.targets[0].id: ", ".join(f"'{value.value}'" for value in node.value.elts)
    for node in tree.body
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)
  }
  node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
  text = (ast.get_docstring(node) or "").partition("Attributes:\n")[2]
  found: dict[str, str] = {}
  last = ""
  for line in text.splitlines():
    if match := re.match(r"  (\w+): (.*)", line):
      last = match.group(1)
      found[last] = match.group(2)
    elif line.startswith("    ") and last:
      found[last] += " " + line.strip()
    else:
      break
  for attribute, text in found.items():
    found[attribute] = re.sub(r"\b[A-Z_]{4,}\b", lambda name: constants.get(name[0], name[0]), text)
  return found


def config_page(groups: dict[str, str], fields: list[Field]) -> str:
  """Return the Markdown page about every config field."""
  lines = [
    "# Config fields",
    "",
    NOTE,
    "",
    *_wrapped(
      "Every field is a flag of the commands that take `--config`, for example"
      " `--config.optimizer.learning_rate=3e-4`. A field that does not exist is an error. The"
      " defaults are those of `experiments/base.py`; each experiment changes some of them."
    ),
  ]
  for group in groups:
    members = [field for field in fields if field.name.rpartition(".")[0] == group]
    if not members:
      continue
    lines += ["", f"## {group or 'General'}", ""]
    if groups[group]:
      lines += [*_wrapped(_sentence(groups[group])), ""]
    lines += ["| field | default | meaning |", "|---|---|---|"]
    for field in members:
      text = _sentence(field.text).replace("|", "\\|")
      lines.append(f"| `{field.name}` | `{field.default}` | {text} |")
  return "\n".join(lines) + "\n"


def _sentence(text: str) -> str:
  """Return text that begins with a capital and ends with a full stop."""
  if not text:
    return ""
  text = text if text.endswith((".", "?")) else f"{text}."
  return text[0].upper() + text[1:] if text[:2].isalpha() else text


def pages() -> dict[pathlib.Path, str]:
  """Return {path: content} of the generated pages."""
  return {
    REFERENCE / "cli.md": cli_page(read_flags()),
    REFERENCE / "config.md": config_page(*read_fields()),
  }


def main() -> int:
  """Write the pages, or check them."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--check", action="store_true", help="write nothing; 1 if a page is old")
  check = parser.parse_args().check
  old = [path for path, text in pages().items() if not path.exists() or path.read_text() != text]
  for path in old:
    if check:
      print(f"{path.relative_to(ROOT)} is not up to date: run python tools/reference_pages.py")
    else:
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(pages()[path])
      print(f"written   {path.relative_to(ROOT)}")
  return int(check and bool(old))


if __name__ == "__main__":
  sys.exit(main())
