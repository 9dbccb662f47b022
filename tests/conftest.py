"""What all tests share: strict dtypes and ranks, a key, and where the real recordings are."""

import os
import pathlib
import shutil
import sys
import tempfile

# 3: XLA reports each program that it finds compiled as an error.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # as command_line.run: no import of Keras

# What the session compiles, for the workers and for the commands that tests start.
_WORKER = "PYTEST_XDIST_WORKER" in os.environ
_COMPILED = pathlib.Path(
  tempfile.gettempdir(),
  f"genre_jax-tests-{os.getuid()}",
  str(os.getppid() if _WORKER else os.getpid()),
)
if sys.dont_write_bytecode:
  # Otherwise every command compiles thousands of modules of TensorFlow, in about 15 s.
  os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
  os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(_COMPILED / "bytecode")
  sys.dont_write_bytecode = False
if _WORKER and hasattr(os, "sched_setaffinity"):
  # A core each: XLA would start a thread a core in every worker.
  _cores = sorted(os.sched_getaffinity(0))
  os.sched_setaffinity(0, {_cores[int(os.environ["PYTEST_XDIST_WORKER"][2:]) % len(_cores)]})
# Most of the time goes into compiling programs that run once: half of it with this level instead of
# 3. Level 0 is wrong: it rounds the same value differently, so that gradients of max become NaN.
os.environ["XLA_FLAGS"] = (
  "--xla_backend_optimization_level=1 " + os.environ.get("XLA_FLAGS", "")
).strip()
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_COMPILED / "programs")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

ROOT = pathlib.Path(__file__).parents[1]
# Folder of the real recordings, with gtzan/ and fsdd/; tests that need them skip without it.
DATA = pathlib.Path(os.environ.get("GENRE_JAX_DATA", "/nonexistent"))
AUDIO = pathlib.Path(__file__).parent / "assets" / "two_seconds.flac"


def pytest_addoption(parser):
  """Adds --slow."""
  parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config, items):
  """Leaves slow tests out unless --slow is given."""
  if not config.getoption("--slow"):
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if not item.get_closest_marker("slow")]


def pytest_unconfigure():
  """Delete what the session compiled, in the process above the workers."""
  if not _WORKER:
    sys.dont_write_bytecode = True  # what is imported from here on would fill the folder again
    shutil.rmtree(_COMPILED, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def _free_programs():
  """Free the compiled programs of each module, which would take gigabytes in a whole session."""
  yield
  jax.clear_caches()


@pytest.fixture
def rng():
  """A key."""
  return jax.random.key(0)


@pytest.fixture(scope="session")
def gtzan():
  """The folder of real GTZAN recordings; tests that need it skip where it is absent."""
  if not (DATA / "gtzan" / "log_mel.npz").exists():
    pytest.skip("needs real recordings: set GENRE_JAX_DATA to a folder with gtzan/log_mel.npz")
  return DATA / "gtzan"
