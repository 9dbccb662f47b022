"""Damage files at random and let calls of the disk fail, with the programs of the benchmarks."""

import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
  "command",
  [
    ["benchmarks.fuzz", "--seconds=15", "--batch=60", "--seed=1"],
    ["benchmarks.fuzz_parsers", "--cases=150", "--seed=1"],
    ["benchmarks.disk_faults"],
  ],
  ids=["predict", "parsers", "disk"],
)
def test_damage_causes_no_fault(command):
  pytest.importorskip("pyarrow")
  if command == ["benchmarks.disk_faults"] and not shutil.which("cc"):
    pytest.skip("needs a C compiler")
  process = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
  assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-2000:]
