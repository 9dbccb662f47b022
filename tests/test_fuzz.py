"""Damage files at random, as `benchmarks/fuzz.py` does for 20,000 files."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
  "command",
  [
    ["benchmarks.fuzz", "--seconds=60", "--batch=250", "--seed=1"],
    ["benchmarks.fuzz_parsers", "--cases=150", "--seed=1"],
  ],
  ids=["predict", "parsers"],
)
def test_damaged_files_cause_no_fault(command):
  process = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
  assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-2000:]
