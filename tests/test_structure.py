"""The house rules that a program can check: directions of imports, TensorFlow's place, fields."""

import ast
import dataclasses
import importlib
import pathlib
import re
import subprocess
import sys

import pytest
from ml_collections import ConfigDict

from genre_jax.data.frontend import FrontendConfig
from genre_jax.training import augment

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "genre_jax"
ORDER = ("data", "models", "training", "inference")
EXPERIMENTS = sorted(
  path.stem for path in (ROOT / "experiments").glob("*.py") if path.stem != "__init__"
)


def _imports(path):
  """(module, whether at module level) of every import in a file."""
  tree = ast.parse(path.read_text())
  top = set(map(id, tree.body))
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from ((name.name, id(node) in top) for name in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield node.module or "", id(node) in top


@pytest.mark.parametrize("room", ORDER)
def test_a_room_imports_only_rooms_to_its_left(room):
  for path in (PACKAGE / room).rglob("*.py"):
    for module, _ in _imports(path):
      for later in ORDER[ORDER.index(room) + 1 :]:
        assert not module.startswith(f"genre_jax.{later}"), f"{path} imports {module}"


def test_rooms_have_their_own_libraries():
  for path in PACKAGE.rglob("*.py"):
    for module, top in _imports(path):
      library, where = module.split(".")[0], path.relative_to(PACKAGE).as_posix()
      if library in ("flax", "optax", "orbax"):
        assert not where.startswith("data/"), f"{path} imports {module}"
      if library == "orbax":
        assert where == "training/checkpoints.py"
      if library in ("tensorflow", "tensorflow_datasets"):
        assert not top, f"{path} imports {module} before it is needed"


def test_importing_the_package_does_not_import_tensorflow():
  script = (
    "import sys; import genre_jax.main, genre_jax.training.loop, genre_jax.data.sources.registry\n"
    "from genre_jax.inference import export, load, predict, stream\n"
    "print('tensorflow' in sys.modules)"
  )
  out = subprocess.run(
    [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
  )
  assert out.stdout.strip() == "False"


def test_predicting_does_not_wait_for_slow_imports():
  """What a one-file prediction imports before it has a model; each took 0.1 to 4 s."""
  script = (
    "import sys; import genre_jax.inference.predict_files, genre_jax.inference.writers\n"
    "print(*{'tensorflow', 'scipy.signal', 'scipy.stats', 'librosa', 'optax', 'orbax',"
    " 'matplotlib', 'pyarrow'} & set(sys.modules))"
  )
  out = subprocess.run(
    [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
  )
  assert out.stdout.strip() == ""


def _leaves(config, prefix=""):
  for name, value in config.items():
    if isinstance(value, ConfigDict):
      yield from _leaves(value, f"{prefix}{name}.")
    else:
      yield f"{prefix}{name}", value


def _config(name):
  return importlib.import_module(f"experiments.{name}").get_config()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_locked_and_says_what_it_asks(name):
  module = importlib.import_module(f"experiments.{name}")
  assert module.__doc__ and "?" in module.__doc__ or name == "base"
  config = _config(name)
  assert config.is_locked
  assert all(value is not None for _, value in _leaves(config))


def test_every_field_is_read():
  """A field that nothing reads is a promise that nothing keeps."""
  source = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
  for field, _ in _leaves(_config("base")):
    group, _, name = field.rpartition(".")
    if group == "frontend":
      assert name in {f.name for f in dataclasses.fields(FrontendConfig)}
    elif group == "augment":
      assert name in augment.DEFAULTS
    else:
      assert re.search(rf"\.{name}\b|\[.{name}.\]", source), f"nothing reads config.{field}"
  assert {f.name for f in dataclasses.fields(FrontendConfig)} == set(_config("base").frontend)


def test_no_file_is_two_rooms():
  for path in [*PACKAGE.rglob("*.py"), *(ROOT / "experiments").glob("*.py")]:
    assert len(path.read_text().splitlines()) <= 350, f"{path} is longer than 350 lines"
