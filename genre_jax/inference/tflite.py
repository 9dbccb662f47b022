"""A function of JAX as a TFLite FlatBuffer: the part of exporting that needs TensorFlow.

Used by `exports.py`. TensorFlow's converter makes the file; ai-edge-litert, its interpreter, runs
it where it is installed, else the interpreter that comes with TensorFlow.
"""

import io
import json
import os
import zipfile
from typing import Any

import numpy as np

from genre_jax.errors import UserError


def convert(function, samples: int) -> bytes:
  """The FlatBuffer of float32[1, samples] -> float32[1, classes]."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  import absl.logging
  import tensorflow as tf
  from jax.experimental import jax2tf

  absl.logging.set_verbosity(absl.logging.ERROR)  # it tells how it converts
  converted = jax2tf.convert(function, with_gradient=False, native_serialization_platforms=("cpu",))
  traced = tf.function(
    converted,
    autograph=False,
    input_signature=[tf.TensorSpec((1, samples), tf.float32, name="audio")],
  )
  owner = tf.Module()
  owner.traced = traced
  try:
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
      [traced.get_concrete_function()], owner
    )
    return converter.convert()
  except Exception as error:  # the converter raises many kinds
    raise UserError(
      "--format=tflite: TensorFlow's converter cannot convert this network:"
      f" {str(error).strip().splitlines()[0][:200]}"
    ) from error


def runner(content: bytes):
  """A function that runs a FlatBuffer: float32[1, samples] to float32[1, classes]."""
  try:
    from ai_edge_litert.interpreter import Interpreter
  except ImportError:
    from tensorflow import lite

    Interpreter = lite.Interpreter
  interpreter = Interpreter(model_content=content)
  interpreter.allocate_tensors()
  sound, prediction = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

  def run(audio):
    interpreter.set_tensor(sound["index"], np.asarray(audio, np.float32))
    interpreter.invoke()
    return interpreter.get_tensor(prediction["index"]).copy()

  return run


def with_metadata(content: bytes, metadata: dict[str, Any]) -> bytes:
  """The FlatBuffer with metadata.json as a zip behind it, which is how TFLite files do it."""
  out = io.BytesIO(content)
  out.seek(0, io.SEEK_END)
  with zipfile.ZipFile(out, "a") as archive:
    archive.writestr("metadata.json", json.dumps(metadata, indent=2) + "\n")
  return out.getvalue()
