"""Load a trained model, predict files, classify live audio, and export.

`from genre_jax.inference import load, predict, stream, export`.
"""

import importlib

# Imported on first use, so that reading a model directory does not import JAX.
_MODULES = {"load": "model", "predict": "predict_files", "stream": "streaming", "export": "exports"}
__all__ = list(_MODULES)


def __getattr__(name: str):
  if name not in _MODULES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
