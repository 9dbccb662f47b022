"""One run, sweeps, and protocols of many runs."""
