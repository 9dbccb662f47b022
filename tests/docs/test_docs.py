"""The documentation agrees with the program: commands, links, generated pages, length and words."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.docs.markdown import PAGES, README, anchors_of, commands_of, links_of

RUN_SH = ("bench", "docs", "test")  # commands of run.sh alone
# One letter of each is in brackets so that a search for them does not find this file. `is None` is
# Python.
FORBIDDEN = re.compile(
  r"\b([hH]ear|[hH]eard|[tT]old apart|[a]t hand|[s]tands in|[g]oes on|[i]s none)\b"
)
GENERATED = ("cli.md", "config.md")

# Parses command lines, each in a child process, since every command defines flags of its own.
# Prints a line for each that does not parse.
PARSE = """
import importlib, json, os, sys
import experiments.base
from absl import flags
from genre_jax import cli, command_line
for page, name, arguments in json.load(sys.stdin):
  child = os.fork()
  if child == 0:
    try:
      importlib.import_module(cli.module_of(name))
      sys.argv = ["genre-jax", *arguments]  # where the config's flag looks for its fields
      flags.FLAGS(sys.argv)
    except BaseException as error:
      print(f"{page}: {name} {' '.join(arguments)}: {type(error).__name__}: {error}", flush=True)
    os._exit(0)
  os.waitpid(child, 0)
"""


def _commands():
  """Return (page, name, arguments) of every command that the pages show, each once."""
  found = {}
  for path in PAGES:
    for name, arguments in commands_of(path.read_text()):
      found.setdefault((name, *arguments), (str(path.relative_to(ROOT)), name, arguments))
  return list(found.values())


def _reference_pages():
  spec = importlib.util.spec_from_file_location("pages", ROOT / "tools" / "reference_pages.py")
  module = importlib.util.module_from_spec(spec)
  sys.modules["pages"] = module
  spec.loader.exec_module(module)
  return module


def test_every_command_that_is_shown_parses():
  commands = []
  known = _reference_pages().read_flags()
  for page, name, arguments in _commands():
    if name == "onnx":
      name, arguments = "export", ["--format=onnx", *arguments]
    if name in RUN_SH or name.startswith("benchmarks."):
      continue
    assert name in known, f"{page}: there is no command {name}"
    flags = {flag["name"]: flag for flag in known[name]["flags"]}
    parsed = []
    for argument in arguments:
      flag, equals, _ = argument.partition("=")
      if not flag.startswith("--") or equals or flag == "--sweep":
        parsed.append(argument)
        continue
      if flag == "--config":
        parsed.append("--config=experiments/base.py")
        continue
      # Without a value: a Boolean, or one whose value is a placeholder on the page.
      if flag.startswith("--config."):
        parsed.append(f"{flag}=1" if flag.endswith(("fold", "seed")) else f"{flag}=x")
        continue
      plain = flag[2:]
      if plain not in flags:
        plain = plain.removeprefix("no")
      assert plain in flags, f"{page}: {name} has no flag {flag}"
      if flags[plain]["kind"] == "bool":
        parsed.append(flag)
    commands.append((page, name, parsed))
  done = subprocess.run(
    [sys.executable, "-W", "ignore", "-c", PARSE],
    cwd=ROOT,
    input=json.dumps(commands),
    capture_output=True,
    text=True,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
  )
  assert done.returncode == 0, done.stderr
  assert len(commands) > 40
  assert not done.stdout, done.stdout


def test_every_benchmark_that_is_shown_has_its_flags():
  for page, name, arguments in _commands():
    if name == "bench" or name.startswith("benchmarks."):
      module = "run" if name == "bench" else name.partition(".")[2]
      path = ROOT / "benchmarks" / f"{module}.py"
      assert path.exists(), f"{page}: there is no {path.name}"
      source = path.read_text()
      for argument in arguments:
        flag = argument.partition("=")[0].removeprefix("--")
        names = (flag, flag.removeprefix("no"))
        assert any(f'"{name}"' in source for name in names), f"{page}: {path.name} has no --{flag}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(path):
  for link in links_of(path.read_text()):
    if re.match(r"[a-z]+:", link):
      continue
    name, _, anchor = link.partition("#")
    target = (path.parent / name).resolve() if name else path
    assert target.exists(), f"{link} leads nowhere"
    if anchor:
      assert anchor in anchors_of(target), f"{link}: {target.name} has no such heading"


def test_generated_pages_are_up_to_date():
  for path, text in _reference_pages().pages().items():
    assert path.read_text() == text, f"run python tools/reference_pages.py for {path.name}"


def test_every_config_field_is_described():
  _, fields = _reference_pages().read_fields()
  bare = [field.name for field in fields if not field.text]
  assert not bare, f"experiments/base.py says nothing of {bare}"


def test_the_navigation_is_complete():
  text = (ROOT / "mkdocs.yml").read_text()
  listed = set(re.findall(r": ([\w/-]+\.md)$", text, re.M))
  there = {path.relative_to(ROOT / "docs").as_posix() for path in PAGES if path != README}
  assert listed == there


def test_python_examples_are_python():
  for path in PAGES:
    for block in re.findall(r"```python\n(.*?)```", path.read_text(), re.S):
      ast.parse(block, str(path))


def test_the_readme_is_short():
  assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_are_short(path):
  if path.name in GENERATED:
    return
  inside = False
  for number, line in enumerate(path.read_text().splitlines(), 1):
    inside ^= line.startswith("```")
    table, code = line.lstrip().startswith("|"), inside or line.startswith("    ")
    limit = 100 if path == README or not code else 180
    assert table or len(line) <= limit, f"line {number} has {len(line)} characters"


def test_words():
  # The changelog quotes names of earlier versions.
  pages = [path for path in PAGES if path.name != "changelog.md"]
  for path in [*pages, *sorted((ROOT / "genre_jax").rglob("*.py"))]:
    for number, line in enumerate(path.read_text().splitlines(), 1):
      found = FORBIDDEN.search(line)
      assert not found, f"{path.relative_to(ROOT)}:{number}: {found[0]!r} (docs: plain words)"


@pytest.mark.slow
def test_the_example_of_predict_is_what_it_prints(gtzan, tmp_path):
  songs = tmp_path / "songs"
  songs.mkdir()
  for name in ("blues.00000", "jazz.00001", "metal.00000"):
    shutil.copy(gtzan / "audio" / name.split(".")[0] / f"{name}.flac", songs)
  done = subprocess.run(
    [sys.executable, "-m", "genre_jax", "predict", "--model=axis_features_10", "songs"],
    cwd=tmp_path,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
  )
  table = "".join(f"    {line}\n" for line in done.stdout.splitlines())
  assert table.count("\n") == 4
  for page in ("README.md", "docs/index.md", "docs/start/quickstart.md", "docs/how-to/predict.md"):
    assert table in (ROOT / page).read_text(), f"{page}: {table}"
