"""The harness of the benchmarks: agreement, then turns; failures are rows. No time is asserted."""

import importlib
import re
import sys

import pytest

from benchmarks import harness, interleaved

TOY = """
import os
import numpy as np
from benchmarks.harness import Contestant

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

CONTESTANTS = {
  "ours": Contestant("genre_jax", ours, role="ours"),
  "agrees": Contestant("genre_jax", pinned, 1e-6),
  "disagrees": Contestant("genre_jax", lambda: lambda: np.arange(3.0) + 0.5, 0.1),
  "fails": Contestant("genre_jax", fails),
  "dies": Contestant("genre_jax", dies),
  "absent": Contestant("peers", ours),
}

def remarks(outcomes):
  return ["ratio " + str(outcomes["", "one"].ratio("agrees", "ours") is not None),
          "ratio " + str(outcomes["", "one"].ratio("dies", "ours") is not None)]
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
  """A work of toy contestants, in an environment that is there and one that is not."""
  (tmp_path / "toy_work.py").write_text(TOY)
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.setenv("PYTHONPATH", str(tmp_path))
  monkeypatch.setitem(harness.ENVIRONMENTS, "genre_jax", sys.prefix)
  monkeypatch.setitem(harness.ENVIRONMENTS, "peers", ".venv-absent")
  monkeypatch.setattr(interleaved, "TURN_SECONDS", 0.0)
  yield importlib.import_module("toy_work")
  sys.modules.pop("toy_work")


def test_contestants_take_turns_and_failures_are_rows(toy):
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


def test_every_work_says_what_it_is():
  """Any environment can import the works: what peers need is imported in their setups."""
  folder = harness.ROOT / "benchmarks" / "works"
  names = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
  assert {"log_mel", "inference", "memory"} <= set(names)
  notes = (harness.ROOT / "benchmarks" / "NOTES.md").read_text()
  sections = {
    re.sub(r"[^a-z -]", "", line[3:].lower()).replace(" ", "-")
    for line in notes.splitlines()
    if line.startswith("## ")
  }
  for name in names:
    work = importlib.import_module(f"benchmarks.suites.{name}")
    assert work.TITLE and work.TARGET
    assert getattr(work, "NOTES", "training-step") in sections
    if hasattr(work, "report"):
      continue
    assert set(work.THREADS) <= {"one", "all"}
    for one in work.CONTESTANTS.values():
      assert one.environment in harness.ENVIRONMENTS and one.role in harness.ROLES
    firsts = {one.case: one.role for one in reversed(work.CONTESTANTS.values())}
    assert set(firsts.values()) == {"ours"}
