"""The kinds of work that `benchmarks.run` measures, one module each; see `contest.py`."""
