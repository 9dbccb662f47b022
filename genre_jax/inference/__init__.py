"""Trained networks at work. Last room of the flow: a model is loaded once, then hears music.

`from genre_jax.inference import load, predict, stream, export`.
"""

import importlib

# Imported when they are asked for, so that reading a model directory waits for nothing else.
_HOMES = {"load": "model", "predict": "tracks", "stream": "live", "export": "exports"}
__all__ = list(_HOMES)


def __getattr__(name: str):
  if name not in _HOMES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
