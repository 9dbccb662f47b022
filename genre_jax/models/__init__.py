"""Flax modules, one file an architecture; `registry` finds them by name."""
