"""Mathematics on predictions: metrics, calibration, intervals, comparison of runs."""
