"""Convert a JAX function to a TFLite FlatBuffer with TensorFlow, and run it.

ai-edge-litert runs the FlatBuffer if it is installed, else TensorFlow's own interpreter.
"""

import io
import json
import os
import zipfile
from typing import Any

import numpy as np

from genre_jax.errors import UserError, missing_extra


def convert(function, samples: int) -> bytes:
  """Convert a function to a FlatBuffer.

  Args:
    function: float32[batch, samples] to float32[batch, classes].
    samples: Number of samples of the input.

  Returns:
    The FlatBuffer of float32[1, samples] to float32[1, classes].

  Raises:
    UserError: If TensorFlow is not installed, or cannot convert the network.
  """
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  import absl.logging

  try:
    import tensorflow as tf
  except ImportError as error:
    raise missing_extra("--format=tflite", "tensorflow", "tflite") from error
  from jax.experimental import jax2tf

  absl.logging.set_verbosity(absl.logging.ERROR)  # the converter logs its progress
  converted = jax2tf.convert(function, with_gradient=False, native_serialization_platforms=("cpu",))
  traced = tf.function(
    converted,
    autograph=False,
    input_signature=[tf.TensorSpec((1, samples), tf.float32, name="audio")],
  )
  module = tf.Module()
  module.traced = traced
  try:
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
      [traced.get_concrete_function()], module
    )
    return converter.convert()
  except Exception as error:  # the converter raises many types
    raise UserError(
      "--format=tflite: TensorFlow's converter cannot convert this network:"
      f" {str(error).strip().splitlines()[0][:200]}"
    ) from error


def runner(content: bytes):
  """Return a function that runs a FlatBuffer: float32[1, samples] to float32[1, classes]."""
  try:
    from ai_edge_litert.interpreter import Interpreter
  except ImportError:
    from tensorflow import lite

    Interpreter = lite.Interpreter
  interpreter = Interpreter(model_content=content)
  interpreter.allocate_tensors()
  source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

  def run(audio):
    interpreter.set_tensor(source["index"], np.asarray(audio, np.float32))
    interpreter.invoke()
    return interpreter.get_tensor(target["index"]).copy()

  return run


def with_metadata(content: bytes, metadata: dict[str, Any]) -> bytes:
  """Return a FlatBuffer with metadata.json appended as a zip archive, the TFLite convention."""
  out = io.BytesIO(content)
  out.seek(0, io.SEEK_END)
  with zipfile.ZipFile(out, "a") as archive:
    archive.writestr("metadata.json", json.dumps(metadata, indent=2) + "\n")
  return out.getvalue()
