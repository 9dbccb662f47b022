"""Read the weights of an ONNX file as data, without the package onnx.

An ONNX file is a protocol buffer (https://protobuf.dev/programming-guides/encoding/). Its weights
are the messages TensorProto in ModelProto.graph.initializer (onnx.proto of ONNX 1.16): inline in
raw_data, or in another file that external_data names by offset and length.
"""

import numpy as np

from genre_jax.errors import UserError
from genre_jax.inference.protobuf import fields, varints

GRAPH, INITIALIZER = 7, 5  # fields of ModelProto and GraphProto
DIMS, DATA_TYPE, FLOAT_DATA, NAME, RAW_DATA, EXTERNAL_DATA = 1, 2, 4, 8, 9, 13  # of TensorProto
FLOAT = 1  # a data type


def read_onnx_weights(model: bytes, data: bytes) -> dict[str, np.ndarray]:
  """Return the float32 weights of an ONNX file.

  Args:
    model: Content of the file.
    data: Content of the file with external data.

  Returns:
    {name: float32 array}.

  Raises:
    UserError: If the file is damaged.
  """
  try:
    weights = {}
    for field, graph in fields(model):
      if field == GRAPH:
        for field, tensor in fields(graph):
          if field == INITIALIZER:
            weights.update(_tensor(tensor, data))
    return weights
  except (IndexError, ValueError, TypeError, KeyError, UnicodeDecodeError) as error:
    raise UserError(f"the ONNX file cannot be read ({error})") from error


def _tensor(message, data):
  """Return {name: array} of a TensorProto; {} if it has another type than float32."""
  dims, name, raw, floats, kind = [], "", b"", [], 0
  external: dict[str, str] = {}
  for field, value in fields(message):
    if field == DIMS:
      dims += [value] if isinstance(value, int) else list(varints(value))
    elif field == DATA_TYPE:
      kind = value
    elif field == NAME:
      name = value.decode()
    elif field == RAW_DATA:
      raw = value
    elif field == FLOAT_DATA:
      floats.append(value)
    elif field == EXTERNAL_DATA:
      entry = {number: text.decode() for number, text in fields(value)}
      external[entry[1]] = entry.get(2, "")
  if kind != FLOAT:
    return {}
  raw = raw or b"".join(floats)
  if external:
    offset, length = int(external.get("offset", "0")), int(external["length"])
    if offset < 0 or length < 0 or offset + length > len(data):
      raise ValueError(f"{name} is outside of the external data")
    raw = data[offset : offset + length]
  return {name: np.frombuffer(raw, "<f4").reshape(dims)}
