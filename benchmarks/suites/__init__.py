"""Suites that `benchmarks.run` measures, one module each; see `benchmarks/harness.py`."""
