"""The layout's rules: directions of imports, TensorFlow's place, config fields, file sizes."""

import ast
import dataclasses
import importlib
import pathlib
import subprocess
import sys
import tomllib

import pytest
from ml_collections import ConfigDict

from genre_jax.data.frontend import FrontendConfig
from genre_jax.training import augment
from tests.conftest import ROOT

PACKAGE = ROOT / "genre_jax"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "experiments" not in path.parts)
EXPERIMENTS = sorted(
  path.stem for path in (ROOT / "experiments").glob("*.py") if path.stem != "__init__"
)
# Functions whose parameter is one group of the config, by file.
GROUP_PARAMETERS = {"optimizer.py": {"config": "optimizer"}}


def _imports(path):
  """Yields (module, whether at module level) of every import in a file."""
  tree = ast.parse(path.read_text())
  top = set(map(id, tree.body))
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from ((name.name, id(node) in top) for name in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield node.module or "", id(node) in top


def _run(script):
  """Returns what a Python script prints in a process of its own."""
  done = subprocess.run(
    [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
  )
  return done.stdout.strip()


def test_packages_import_only_from_packages_below_them():
  command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
  done = subprocess.run(
    [sys.executable, "-c", command, "--no-cache"], cwd=ROOT, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_is_in_the_contract():
  contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
  layers = {name.removeprefix("genre_jax.") for name in contract["contracts"][0]["layers"]}
  packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"experiments"}
  assert packages == layers


def test_libraries_have_their_places():
  for path in MODULES:
    for module, top in _imports(path):
      library, where = module.split(".")[0], path.relative_to(PACKAGE).as_posix()
      if library in ("flax", "optax", "orbax"):
        assert not where.startswith("data/"), f"{path} imports {module}"
      if library == "mutagen":
        assert where in ("library/tags.py", "library/tag_places.py")
      if library == "orbax":
        assert where == "training/checkpoints.py"
      if library in ("tensorflow", "tensorflow_datasets"):
        assert not top, f"{path} imports {module} before it is needed"


def test_importing_the_package_does_not_import_tensorflow():
  script = (
    "import sys; import genre_jax.studies.run, genre_jax.data.sources.registry\n"
    "from genre_jax import load, predict, stream\n"
    "from genre_jax.inference import export\n"
    "print('tensorflow' in sys.modules)"
  )
  assert _run(script) == "False"


def test_predicting_does_not_import_what_only_training_needs():
  script = (
    "import sys; import genre_jax.inference.predict_files, genre_jax.inference.lines_writer\n"
    "print(*{'tensorflow', 'scipy.signal', 'scipy.stats', 'librosa', 'orbax', 'ml_collections',"
    " 'matplotlib', 'pyarrow', 'genre_jax.training'} & set(sys.modules))"
  )
  assert _run(script) == ""


@pytest.mark.slow
def test_no_import_changes_global_logging():
  script = (
    "import logging, importlib, pkgutil\n"
    "import jax, absl.logging\n"
    "def state():\n"
    "  names = ['', 'absl', 'jax', 'genre_jax']\n"
    "  return [(logging.getLogger(n).level, len(logging.getLogger(n).handlers)) for n in names]\n"
    "import orbax.checkpoint.experimental.v1, genre_jax\n"
    "before = state(), absl.logging.get_verbosity()\n"
    "for package in ('data', 'models', 'evaluation', 'training', 'reports', 'studies',"
    " 'inference'):\n"
    "  folder = importlib.import_module(f'genre_jax.{package}')\n"
    "  for module in pkgutil.walk_packages(folder.__path__, folder.__name__ + '.'):\n"
    "    importlib.import_module(module.name)\n"
    "import genre_jax.command_line\n"
    "print(before == (state(), absl.logging.get_verbosity()))"
  )
  assert _run(script) == "True"


def _leaves(config, prefix=""):
  for name, value in config.items():
    if isinstance(value, ConfigDict):
      yield from _leaves(value, f"{prefix}{name}.")
    else:
      yield f"{prefix}{name}"


def _config(name):
  return importlib.import_module(f"genre_jax.experiments.{name}").get_config()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_locked_and_states_its_question(name):
  module = importlib.import_module(f"genre_jax.experiments.{name}")
  assert module.__doc__ and "?" in module.__doc__ or name == "base"
  config = _config(name)
  assert config.is_locked
  assert all(config.get_oneway_ref(leaf) is not None for leaf in config)


def fields_read(paths, groups):
  """Returns the config fields that files read, as 'train.epochs'.

  A field counts where it is an attribute of its group: of `config.train`, of a name that was
  assigned from it, or of a parameter in GROUP_PARAMETERS.

  Args:
    paths: the files.
    groups: names of the config's groups.
  """
  found = set()
  for path in paths:
    tree = ast.parse(path.read_text())
    aliases = {name: name for name in groups} | GROUP_PARAMETERS.get(path.name, {})

    def group_of(node, aliases=aliases):
      if isinstance(node, ast.Attribute) and node.attr in groups:
        return node.attr
      if isinstance(node, ast.Attribute) and node.attr == "config":
        return ""
      if isinstance(node, ast.Name):
        return aliases.get(node.id, "" if node.id == "config" else None)
      return None

    for node in ast.walk(tree):
      if isinstance(node, ast.Assign):
        target, value = node.targets[0], node.value
        pairs = (
          zip(target.elts, value.elts, strict=False)
          if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
          else [(target, value)]
        )
        for left, right in pairs:
          if isinstance(left, ast.Name) and (group := group_of(right)):
            aliases[left.id] = group
    for node in ast.walk(tree):
      if isinstance(node, ast.Attribute) and (group := group_of(node.value)) is not None:
        found.add(f"{group}.{node.attr}" if group else node.attr)
  return found


def _unread(config):
  """Returns the fields of a config that no code reads; a check of its value is no reading."""
  groups = {name for name, value in config.items() if isinstance(value, ConfigDict)}
  paths = [path for path in MODULES if path.name != "config_checks.py"]
  read = fields_read(paths, groups)
  read |= {f"frontend.{field.name}" for field in dataclasses.fields(FrontendConfig)}
  read |= {f"augment.{name}" for name in augment.DEFAULTS}
  read |= {"model.name"}  # build_model takes the group as a dictionary
  return {leaf for leaf in _leaves(config) if leaf not in read}


def test_every_field_is_read():
  assert _unread(_config("base")) == set()
  assert {field.name for field in dataclasses.fields(FrontendConfig)} == set(
    _config("base").frontend
  )


@pytest.mark.parametrize("field", ["train.name", "dataset.epochs", "split.hidden", "threads"])
def test_a_field_that_nothing_reads_is_found(field):
  """Even where another group has a field of that name."""
  config = _config("base")
  with config.unlocked():
    group, _, name = field.rpartition(".")
    (config[group] if group else config)[name] = 1
  assert _unread(config) == {field}


def test_every_field_of_the_front_end_is_read():
  text = "\n".join(path.read_text() for path in (PACKAGE / "data").rglob("*.py"))
  for field in dataclasses.fields(FrontendConfig):
    assert f"frontend.{field.name}" in text or f"self.{field.name}" in text, field.name


def test_every_augmentation_is_read():
  text = (PACKAGE / "training" / "augment.py").read_text()
  for name in augment.DEFAULTS:
    assert f'["{name}"]' in text, name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_file_is_two_modules(path):
  assert len(path.read_text().splitlines()) <= 350


def test_no_module_is_named_like_one_of_the_standard_library():
  named_as_asked = {"genre_jax/__main__.py"}
  for path in MODULES:
    if path.relative_to(ROOT).as_posix() not in named_as_asked:
      assert path.stem not in sys.stdlib_module_names or path.stem == "__init__", path


def test_the_link_to_the_experiments_is_there():
  link = PACKAGE / "experiments"
  assert link.is_symlink() and link.resolve() == ROOT / "experiments"
  assert pathlib.Path(importlib.import_module("genre_jax.experiments").__file__).parent.samefile(
    ROOT / "experiments"
  )
