"""A function of JAX as an ONNX graph: the part of exporting that needs jax2onnx.

Used by `exports.py`. jax2onnx wants an older orbax than training here does, so it has an
environment of its own (requirements-onnx.txt); nothing that exporting imports is missing there.
"""

import json
from typing import Any

import absl.logging
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun

from genre_jax.errors import UserError

OPSET = 21  # of 2024: what runs it need not be new


def convert(function, samples: int) -> bytes:
  """The graph of 'audio' float32[1, samples] -> 'probabilities' float32[1, classes].

  Args:
    function: float32[batch, samples] to float32[batch, classes].
    samples: of the sound; jax2onnx 0.17.1 makes no valid Fourier transform of an open size.
  Raises:
    UserError: without jax2onnx, and for a network that it cannot convert.
  """
  try:
    from jax2onnx import to_onnx
  except ImportError as error:
    raise UserError(
      "--format=onnx needs jax2onnx, which wants an older orbax than training does and has an"
      " environment of its own (requirements-onnx.txt): run ./run.sh onnx with the same flags"
    ) from error
  absl.logging.set_verbosity(absl.logging.ERROR)  # it tells how it converts
  try:
    # Traced here: while jax2onnx traces, its own jnp.where and jnp.concatenate take values of no
    # declared type for float64, and the graph is then of two types at once.
    traced = jaxpr_as_fun(jax.make_jaxpr(function)(jax.ShapeDtypeStruct((1, samples), jnp.float32)))
    model = to_onnx(
      lambda audio: traced(audio)[0],
      [(1, samples)],
      model_name="genre_jax",
      opset=OPSET,
      input_names=["audio"],
      output_names=["probabilities"],
    )
  except Exception as error:  # the converter raises many kinds
    raise UserError(
      "--format=onnx: jax2onnx cannot convert this network:"
      f" {(str(error).strip() or type(error).__name__).splitlines()[0][:200]}"
    ) from error
  # What no node reads would be told of at every start of ONNX Runtime.
  read = {name for node in model.graph.node for name in node.input}
  kept = [constant for constant in model.graph.initializer if constant.name in read]
  del model.graph.initializer[:]
  model.graph.initializer.extend(kept)
  return model.SerializeToString()


def runner(content: bytes):
  """A function that runs a graph: float32[1, samples] to float32[1, classes]."""
  import onnxruntime

  experiment = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
  return lambda audio: experiment.run(None, {"audio": np.asarray(audio, np.float32)})[0]


def with_metadata(content: bytes, metadata: dict[str, Any]) -> bytes:
  """The graph with metadata.json as its property of that name, where ONNX files have such."""
  import onnx

  model = onnx.load_model_from_string(content)
  onnx.helper.set_model_props(model, {"metadata.json": json.dumps(metadata, indent=2)})
  return model.SerializeToString()
