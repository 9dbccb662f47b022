"""Read the fields of protocol buffers (https://protobuf.dev/programming-guides/encoding/)."""

from collections.abc import Iterator
from typing import Any

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
  """Yield (number, value) of the fields of a message.

  Raises:
    IndexError, ValueError: If the message is damaged.
  """
  at = 0
  while at < len(message):
    key, at = varint(message, at)
    number, kind = key >> 3, key & 7
    if kind == VARINT:
      value, at = varint(message, at)
      yield number, value
      continue
    if kind == BYTES:
      length, at = varint(message, at)
    elif kind in (FIXED32, FIXED64):
      length = 4 if kind == FIXED32 else 8
    else:
      raise ValueError(f"field {number} has the unknown wire type {kind}")
    if at + length > len(message):
      raise ValueError(f"field {number} ends after its message")
    yield number, message[at : at + length]
    at += length


def varint(message: bytes, at: int) -> tuple[int, int]:
  """Return the integer at a position, and the position after it."""
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


def varints(message: bytes) -> Iterator[int]:
  """Yield the integers of a packed field."""
  at = 0
  while at < len(message):
    value, at = varint(message, at)
    yield value
