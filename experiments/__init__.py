"""Configs of experiments: one file each, with its question, command, cost and result."""
