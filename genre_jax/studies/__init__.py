"""Runs, sweeps, and protocols of many runs with their results."""
