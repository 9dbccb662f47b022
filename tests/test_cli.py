"""The installed command, the functions of the top level, and missing extras."""

import importlib.metadata
import subprocess
import sys
import tomllib

import pytest

import genre_jax
from genre_jax import cli
from tests.conftest import AUDIO, ROOT


def _run(*arguments, cwd, script="from genre_jax.cli import main; main()", **environment):
  """Runs the installed command's entry point in another folder."""
  return subprocess.run(
    [sys.executable, "-c", script, *map(str, arguments)],
    cwd=cwd,
    env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(cwd), **environment},
    capture_output=True,
    text=True,
  )


def test_commands_are_listed():
  modules = {f"genre_jax.{path.stem}" for path in (ROOT / "genre_jax").glob("*.py")}
  assert modules >= set(map(cli.module_of, cli.COMMANDS))
  for name, purpose in cli.COMMANDS.items():
    assert f"{name} " in cli.usage() and purpose in cli.usage()
  entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
  assert entry == {"genre-jax": "genre_jax.cli:main"}


@pytest.mark.parametrize("module", ["absl.app", "jax"])
def test_ctrl_c_while_modules_are_imported(tmp_path, module):
  script = f"""
import os, signal, sys
signal.signal(signal.SIGINT, HANDLER)
class Finder:
  def find_spec(self, name, path, target=None):
    if name == {module!r}:
      os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from genre_jax.cli import main
main()
"""
  usual = script.replace("HANDLER", "signal.default_int_handler")  # a background job has another
  done = _run("predict", AUDIO, cwd=tmp_path, script=usual)
  assert done.returncode == 130 and "Traceback" not in done.stderr
  ignored = script.replace("HANDLER", "signal.SIG_IGN")
  done = _run("predict", "--segments=x", AUDIO, cwd=tmp_path, script=ignored)
  assert done.returncode == 2


def test_no_command_and_an_unknown_one(tmp_path):
  done = _run(cwd=tmp_path)
  assert done.returncode == 0 and done.stdout.startswith("usage: genre-jax COMMAND")
  done = _run("predcit", "a.wav", cwd=tmp_path)
  assert done.returncode == 2
  assert done.stderr.startswith("error: there is no command 'predcit' (did you mean predict?)")
  done = _run("--version", cwd=tmp_path)
  assert done.stdout == f"genre_jax {genre_jax.__version__}\n"


@pytest.mark.slow
def test_a_file_is_classified_from_another_folder(tmp_path):
  done = _run("predict", AUDIO, cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  assert "two_seconds.flac" in done.stdout
  asked = _run("predict", "--modle=x", AUDIO, cwd=tmp_path)
  assert asked.returncode == 2 and "modle" in asked.stderr and "Traceback" not in asked.stderr


def test_the_module_is_the_command(tmp_path):
  done = subprocess.run(
    [sys.executable, "-m", "genre_jax", "--version"], cwd=ROOT, capture_output=True, text=True
  )
  assert done.stdout == f"genre_jax {genre_jax.__version__}\n"


@pytest.mark.slow
def test_functions_of_the_top_level():
  model = genre_jax.load("axis_features_10")
  (prediction,) = genre_jax.predict([AUDIO], model)
  assert prediction.status == "ok" and prediction.genre in model.classes
  import soundfile

  samples, rate = soundfile.read(AUDIO, dtype="float32")
  updates = list(genre_jax.stream([samples], model, sample_rate=rate))
  assert updates and set(updates[-1].probabilities) == set(model.classes)
  with pytest.raises(AttributeError, match="no attribute 'lod'"):
    _ = genre_jax.lod


@pytest.mark.slow
def test_an_experiment_is_found_outside_a_checkout(tmp_path):
  done = _run("main", "--config=experiments/tf_split.py", "--mode=summary", cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  assert "split_cnn" in done.stdout
  (tmp_path / "experiments").mkdir()
  (tmp_path / "experiments" / "tf_split.py").write_text(
    "def get_config():\n  raise KeyError('own')"
  )
  done = _run("main", "--config=experiments/tf_split.py", "--mode=summary", cwd=tmp_path)
  assert done.returncode == 2 and "own" in done.stderr


@pytest.mark.parametrize(
  ("module", "arguments", "message"),
  [
    ("ml_collections", ["main", "--config=experiments/base.py"], "genre-jax[train]"),
    ("optax", ["main", "--config=experiments/base.py"], "genre-jax[train]"),
    ("pyarrow", ["predict", "--format=parquet", "--out=a.parquet", AUDIO], "genre-jax[parquet]"),
    ("fastapi", ["page"], "genre-jax[web]"),
    ("uvicorn", ["library", "serve"], "genre-jax[web]"),
    ("mutagen", ["library", "scan", "music"], "genre-jax[library]"),
  ],
)
def test_a_missing_extra_is_one_line_that_names_it(tmp_path, module, arguments, message):
  script = f"import sys; sys.modules[{module!r}] = None; from genre_jax.cli import main; main()"
  done = _run(*arguments, cwd=tmp_path, script=script)
  assert done.returncode == 2
  assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
  ("file", "extras"),
  [
    ("requirements.txt", ["train", "test", "parquet", "library", "web"]),
    ("requirements-onnx.txt", ["onnx"]),
  ],
)
def test_requirements_lie_in_the_ranges_of_the_package(file, extras):
  packaging = pytest.importorskip("packaging.requirements")
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  pins: dict[str, list] = {}
  for line in (ROOT / file).read_text().splitlines():
    if line and not line.startswith("#"):
      pin = packaging.Requirement(line)
      pins.setdefault(pin.name.replace("_", "-").lower(), []).append(pin)
  optional = project["optional-dependencies"]
  for line in [*project["dependencies"], *(line for extra in extras for line in optional[extra])]:
    wanted = packaging.Requirement(line)
    if wanted.name == "genre_jax":
      continue
    for pin in pins[wanted.name.replace("_", "-").lower()]:
      (version,) = (part.version for part in pin.specifier)
      assert version in wanted.specifier, f"{pin} is outside {wanted}"


def test_jax_is_not_the_version_with_wrong_results():
  assert importlib.metadata.version("jax") != "0.10.2"
