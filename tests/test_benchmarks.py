"""Test the harness of the benchmarks: agreement, interleaved runs, failures as rows.

No test asserts a time.
"""

import importlib
import re
import sys

import numpy as np
import pytest

from benchmarks import gpu_suite, harness, interleaved, similarity
from benchmarks.suites import growth_library
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

TOY = """
import os
import numpy as np
from benchmarks.harness import Contender

TITLE, TARGET, THREADS = "Toy", "nothing", ("one",)

def ours():
  print("libraries print")
  return lambda: np.arange(3.0)

def pinned():
  assert len(os.sched_getaffinity(0)) == 1 and os.environ["OMP_NUM_THREADS"] == "1"
  return ours()

def fails():
  raise RuntimeError("no such | thing")

def dies():
  os._exit(3)

CONTENDERS = {
  "ours": Contender("genre_jax", ours, role="ours"),
  "agrees": Contender("genre_jax", pinned, 1e-6),
  "disagrees": Contender("genre_jax", lambda: lambda: np.arange(3.0) + 0.5, 0.1),
  "fails": Contender("genre_jax", fails),
  "dies": Contender("genre_jax", dies),
  "absent": Contender("peers", ours),
}

def remarks(outcomes):
  return ["ratio " + str(outcomes["", "one"].ratio("agrees", "ours") is not None),
          "ratio " + str(outcomes["", "one"].ratio("dies", "ours") is not None)]
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
  """Return a suite of toy contenders, in an environment that exists and one that does not."""
  (tmp_path / "toy_suite.py").write_text(TOY)
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.setenv("PYTHONPATH", str(tmp_path))
  monkeypatch.setitem(harness.ENVIRONMENTS, "genre_jax", sys.prefix)
  monkeypatch.setitem(harness.ENVIRONMENTS, "peers", ".venv-absent")
  monkeypatch.setattr(interleaved, "RUN_SECONDS", 0.0)
  yield importlib.import_module("toy_suite")
  sys.modules.pop("toy_suite")


def test_contenders_run_interleaved_and_failures_are_rows(toy):
  text = interleaved.run_suite(toy, repeats=2, limit=60.0)
  rows = {row.split("|")[1].strip(): row for row in text.splitlines() if row.startswith("| ")}
  assert re.fullmatch(
    r"\| \*\*ours\*\* \| [\d.]+ ms \| .* to .* \| .* \| 1\.00 \[.*\] \|  \|", rows["**ours**"]
  )
  assert "0.0e+00" in rows["agrees"] and "1.00 [1.00, 1.00]" in rows["agrees"]
  assert "failed | disagrees: largest difference 0.5, allowed 0.1" in rows["disagrees"]
  assert "failed | RuntimeError: no such / thing" in rows["fails"]
  assert "failed | its process ended with status 3" in rows["dies"]
  assert "failed | .venv-absent is absent; ./run.sh bench installs it" in rows["absent"]
  assert text.endswith("- ratio True\n- ratio False\n")


def test_every_suite_is_complete_and_importable():
  """Suites import in every environment: they import the packages of peers in setups."""
  folder = harness.ROOT / "benchmarks" / "suites"
  names = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
  assert {"log_mel", "inference", "memory"} <= set(names)
  notes = (harness.ROOT / "docs" / "results" / "speed-notes.md").read_text()
  sections = {
    re.sub(r"[^a-z -]", "", line[3:].lower()).replace(" ", "-")
    for line in notes.splitlines()
    if line.startswith("## ")
  }
  for name in names:
    suite = importlib.import_module(f"benchmarks.suites.{name}")
    assert suite.TITLE and suite.TARGET
    assert getattr(suite, "NOTES", "training-step") in sections
    if hasattr(suite, "report"):
      continue
    assert set(suite.THREADS) <= {"one", "all"}
    for one in suite.CONTENDERS.values():
      assert one.environment in harness.ENVIRONMENTS and one.role in harness.ROLES
    firsts = {one.case: one.role for one in reversed(suite.CONTENDERS.values())}
    assert set(firsts.values()) == {"ours"}


def test_a_job_grows_with_its_partitions(tmp_path):
  songs = growth_library.write_songs(tmp_path / "songs", 10)
  assert [path.stat().st_size > 0 for path in songs] == [True] * 10
  for measure in (growth_library.scanning, growth_library.partitioning):
    assert min(measure(tmp_path, songs, [2, 10])) > 0
  assert len(list((tmp_path / "job" / "partitions").iterdir())) == 2


def test_shares_of_the_nearest():
  names = ["a"] * 3 + ["b"] * 20
  groups = [0, 0, 1, *range(2, 22)]
  angles = np.where(np.array(names) == "a", 0.0, 1.5) + np.linspace(0, 0.5, 23)
  order = similarity.neighbors(np.stack([np.cos(angles), np.sin(angles)], 1))
  assert order.shape == (23, 22) and all(n not in row for n, row in enumerate(order))
  shares = similarity.same_share(order, names)
  assert np.allclose(shares[:3], 0.2) and np.allclose(shares[-5:], 1)
  assert np.allclose(similarity.same_share(order, names, groups)[:3], [0.1, 0.1, 0.2])
  found = similarity.found_share(order, [*names[:-1], "c"])
  assert np.allclose(found[:3], 1) and np.isnan(found[-1])
  assert similarity.skewness(np.array([[0] * 10] * 5)) > 1


def _flags(path):
  """Return {module: its flags} of a benchmark and those that it imports."""
  text = path.read_text()
  found = {path: re.findall(r'DEFINE_\w+\(\s*"(\w+)"', text)}
  for package, module, several in re.findall(
    r"^from (benchmarks[\w.]*?)(?:\.(\w+))? import (\([^)]*\)|.+)$", text, re.MULTILINE
  ):
    folder = ROOT / package.replace(".", "/")
    for name in [module] if module else re.findall(r"\w+", several):
      if (folder / f"{name}.py").is_file():
        found |= _flags(folder / f"{name}.py")
  return found


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda p: p.stem)
def test_each_benchmark_defines_its_flags_once(path):
  """Absl refuses two flags of one name, also of two modules."""
  names = sum(_flags(path).values(), [])
  assert len(names) == len(set(names)), names


def test_the_gpu_suite_runs_without_a_gpu(monkeypatch):
  monkeypatch.setenv(gpu_suite.SMALL, "1")
  for name in ("inference, axis_features", "log-mel"):
    output = gpu_suite.CONTENDERS[f"genre_jax, {name}"].setup()()
    assert np.isfinite(output).all() and output.shape[0] in (256, 8)
  assert {one.case for one in gpu_suite.CONTENDERS.values() if one.role == "peer"} == {
    one.case for one in gpu_suite.CONTENDERS.values() if one.role == "ours"
  }
