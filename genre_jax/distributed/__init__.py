"""Predict many files in partitions, on one machine or on several."""
