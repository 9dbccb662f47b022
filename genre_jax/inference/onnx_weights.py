"""Read the weights of an ONNX file as data, without the package onnx.

An ONNX file is a protocol buffer (https://protobuf.dev/programming-guides/encoding/). Its weights
are the messages TensorProto in ModelProto.graph.initializer (onnx.proto of ONNX 1.16): inline in
raw_data, or in another file that external_data names by offset and length.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from genre_jax.errors import UserError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
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
    for field, graph in _fields(model):
      if field == GRAPH:
        for field, tensor in _fields(graph):
          if field == INITIALIZER:
            weights.update(_tensor(tensor, data))
    return weights
  except (IndexError, ValueError, TypeError, KeyError, UnicodeDecodeError) as error:
    raise UserError(f"the ONNX file cannot be read ({error})") from error


def _tensor(message, data):
  """Return {name: array} of a TensorProto; {} if it has another type than float32."""
  dims, name, raw, floats, kind = [], "", b"", [], 0
  external: dict[str, str] = {}
  for field, value in _fields(message):
    if field == DIMS:
      dims += [value] if isinstance(value, int) else list(_varints(value))
    elif field == DATA_TYPE:
      kind = value
    elif field == NAME:
      name = value.decode()
    elif field == RAW_DATA:
      raw = value
    elif field == FLOAT_DATA:
      floats.append(value)
    elif field == EXTERNAL_DATA:
      entry = {number: text.decode() for number, text in _fields(value)}
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


def _fields(message) -> Iterator[tuple[int, Any]]:
  """Yield (number, value) of the fields of a message."""
  at = 0
  while at < len(message):
    key, at = _varint(message, at)
    number, kind = key >> 3, key & 7
    if kind == VARINT:
      value, at = _varint(message, at)
      yield number, value
      continue
    if kind == BYTES:
      length, at = _varint(message, at)
    elif kind in (FIXED32, FIXED64):
      length = 4 if kind == FIXED32 else 8
    else:
      raise ValueError(f"field {number} has the unknown wire type {kind}")
    if at + length > len(message):
      raise ValueError(f"field {number} ends after its message")
    yield number, message[at : at + length]
    at += length


def _varint(message, at):
  """Return an integer and the position after it."""
  value, shift = 0, 0
  while True:
    byte = message[at]
    at += 1
    value |= (byte & 127) << shift
    shift += 7
    if byte < 128:
      return value, at
    if shift > 63:
      raise ValueError("an integer is too long")


def _varints(message):
  at = 0
  while at < len(message):
    value, at = _varint(message, at)
    yield value
