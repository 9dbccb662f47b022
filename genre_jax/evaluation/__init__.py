"""Evaluate predictions: metrics, calibration, intervals, comparison of runs."""
