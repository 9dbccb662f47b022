"""Convert a JAX function to an ONNX graph with jax2onnx, and run it with ONNX Runtime.

jax2onnx needs an older orbax than training does, so it has its own environment
(requirements-onnx.txt).
"""

import json
from typing import Any

import absl.logging
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun

from genre_jax.errors import UserError, missing_extra

OPSET = 21  # of 2024, so that older runtimes can run the graph


def convert(function, samples: int) -> bytes:
  """Convert a function to an ONNX graph.

  Args:
    function: float32[batch, samples] to float32[batch, classes].
    samples: Number of samples of the input. It is fixed: jax2onnx 0.17.1 makes no valid Fourier
      transform of a symbolic size.

  Returns:
    The graph of 'audio' float32[1, samples] to 'probabilities' float32[1, classes].

  Raises:
    UserError: If jax2onnx is not installed, or cannot convert the network.
  """
  try:
    from jax2onnx import to_onnx
  except ImportError as error:
    raise missing_extra("--format=onnx", "jax2onnx", "onnx") from error
  absl.logging.set_verbosity(absl.logging.ERROR)  # the converter logs its progress
  try:
    # Trace the function before jax2onnx does: its own jnp.where and jnp.concatenate treat weakly
    # typed values as float64, and the graph would mix two types.
    traced = jaxpr_as_fun(jax.make_jaxpr(function)(jax.ShapeDtypeStruct((1, samples), jnp.float32)))
    model = to_onnx(
      lambda audio: traced(audio)[0],
      [(1, samples)],
      model_name="genre_jax",
      opset=OPSET,
      input_names=["audio"],
      output_names=["probabilities"],
    )
  except Exception as error:  # the converter raises many types
    raise UserError(
      "--format=onnx: jax2onnx cannot convert this network:"
      f" {(str(error).strip() or type(error).__name__).splitlines()[0][:200]}"
    ) from error
  # ONNX Runtime warns at every start about constants that no node reads.
  read = {name for node in model.graph.node for name in node.input}
  kept = [constant for constant in model.graph.initializer if constant.name in read]
  del model.graph.initializer[:]
  model.graph.initializer.extend(kept)
  return model.SerializeToString()


def runner(content: bytes):
  """Return a function that runs a graph: float32[1, samples] to float32[1, classes]."""
  import onnxruntime

  session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
  return lambda audio: session.run(None, {"audio": np.asarray(audio, np.float32)})[0]


def with_metadata(content: bytes, metadata: dict[str, Any]) -> bytes:
  """Return a graph with the metadata as its metadata property 'metadata.json'."""
  import onnx

  model = onnx.load_model_from_string(content)
  onnx.helper.set_model_props(model, {"metadata.json": json.dumps(metadata, indent=2)})
  return model.SerializeToString()
