"""Classify the genre of music with JAX.

Example:

    import genre_jax

    model = genre_jax.load("axis_features_10")
    for prediction in genre_jax.predict(["song.ogg", "folder"], model):
      print(prediction.file, prediction.genre, prediction.confidence)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from genre_jax.inference.model import load
  from genre_jax.inference.predict_files import predict
  from genre_jax.inference.streaming import stream

__version__ = "0.1.0"
__all__ = ["load", "predict", "stream"]


def __getattr__(name: str) -> Any:
  """Import a public function when it is first used, so that `import genre_jax` is quick."""
  # The modules predict.py and stream.py beside this file are commands: they are run, never
  # imported, and so do not take the place of the functions of these names.
  if name not in __all__:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return getattr(importlib.import_module("genre_jax.inference"), name)
