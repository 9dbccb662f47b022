"""Write a network as ONNX, in the environment of jax2onnx: `python -m benchmarks.onnx_network`.

    python -m benchmarks.onnx_network MODEL SEGMENTS FILE.onnx

The graph takes float32[SEGMENTS, time, frequency] and returns logits. All filters of musicnn are in
it, as its package computes them.
"""

import pathlib
import sys


def graph(name: str, segments: int) -> bytes:
  """Return the graph of a model's network.

  Args:
    name: Value of --model.
    segments: Number of segments of the input.
  """
  import absl.logging
  import jax
  import jax.numpy as jnp
  from jax.extend.core import jaxpr_as_fun
  from jax2onnx import to_onnx

  from genre_jax.inference.model import load
  from genre_jax.inference.onnx_graph import OPSET

  absl.logging.set_verbosity(absl.logging.ERROR)  # it logs each step of the conversion
  model = load(name)
  network = model.network
  if getattr(network, "used_filters", ()):
    network = network.clone(used_filters=())

  def logits(log_mel):
    return network.apply(model.variables, log_mel[..., None])

  shape = (segments, model.frontend.num_frames, model.frontend.n_mels)
  # Traced first; `inference/onnx_graph.py` explains why.
  traced = jaxpr_as_fun(jax.make_jaxpr(logits)(jax.ShapeDtypeStruct(shape, jnp.float32)))
  return to_onnx(
    lambda log_mel: traced(log_mel)[0],
    [shape],
    model_name="network",
    opset=OPSET,
    input_names=["log_mel"],
    output_names=["logits"],
  ).SerializeToString()


def session(content: bytes):
  """Return a function from float32[segments, time, frequency] to logits, with all usable cores."""
  import onnxruntime

  from benchmarks.harness import cores

  options = onnxruntime.SessionOptions()
  options.intra_op_num_threads = cores()
  runtime = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
  return lambda log_mel: runtime.run(None, {"log_mel": log_mel})[0]


if __name__ == "__main__":
  model, number, file = sys.argv[1:]
  pathlib.Path(file).write_bytes(graph(model, int(number)))
