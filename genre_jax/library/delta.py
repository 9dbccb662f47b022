"""Make an old file from the new one that replaced it: a short list of copies and literal bytes.

Blocks of the new file are found in the old one at any position, so that moved tags and sound cost a
few bytes each.
"""

import mmap
import struct
import zlib
from collections.abc import Callable
from typing import BinaryIO

COPY, LITERAL = 0, 1
HEAD = struct.Struct("<BQQ")  # operation; COPY: position and length, LITERAL: length and 0
SMALLEST_BLOCK = 32
MOST_BLOCKS = 1 << 16  # bounds memory
CHUNK = 1 << 20


def encode(old: BinaryIO, new: BinaryIO) -> bytes:
  """Return the delta that makes `old` from `new`, both open files."""
  with _content(old) as before, _content(new) as after:
    return zlib.compress(b"".join(_operations(before, after)), 9)


def decode(delta: bytes, new: BinaryIO, write: Callable[[bytes], object]) -> None:
  """Write the old file.

  Args:
    delta: What `encode` returned.
    new: The new file, open for reading.
    write: Takes the next bytes of the old file.
  """
  data = memoryview(zlib.decompress(delta))
  place = 0
  while place < len(data):
    kind, first, length = HEAD.unpack_from(data, place)
    place += HEAD.size
    if kind == LITERAL:
      write(bytes(data[place : place + first]))
      place += first
      continue
    new.seek(first)
    while length > 0:
      piece = new.read(min(CHUNK, length))
      if not piece:
        raise ValueError("the file is shorter than its delta expects")
      write(piece)
      length -= len(piece)


def _content(file: BinaryIO) -> mmap.mmap:
  file.flush()
  return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _operations(old, new):
  """Yield the operations of a delta."""
  first = _equal(old, 0, new, 0)
  end = min(len(old), len(new)) - first
  last = _equal_before(old, len(old), new, len(new), end)
  if first:
    yield HEAD.pack(COPY, 0, first)
  yield from _middle(old, first, len(old) - last, new, first, len(new) - last)
  if last:
    yield HEAD.pack(COPY, len(new) - last, last)


def _middle(old, place, stop, new, start, end):
  """Yield operations for old[place:stop], with copies from new[start:end]."""
  size = max(SMALLEST_BLOCK, (end - start) // MOST_BLOCKS)
  blocks: dict[bytes, int] = {}
  for position in range(end - size, start - 1, -size):
    blocks[new[position : position + size]] = position
  pending = place  # from here on, bytes are in no copy yet
  while blocks and place + size <= stop:
    source = blocks.get(old[place : place + size])
    if source is None:
      place += 1
      continue
    length = min(_equal(old, place, new, source), stop - place)
    back = _equal_before(old, place, new, source, min(place - pending, source))
    if place - back > pending:
      yield HEAD.pack(LITERAL, place - back - pending, 0) + old[pending : place - back]
    yield HEAD.pack(COPY, source - back, length + back)
    pending = place = place + length
  if stop > pending:
    yield HEAD.pack(LITERAL, stop - pending, 0) + old[pending:stop]


def _equal(one, i, other, j) -> int:
  """Return the number of equal bytes of one[i:] and other[j:]."""
  return _longest(
    lambda at, size: one[i + at : i + at + size] == other[j + at : j + at + size],
    min(len(one) - i, len(other) - j),
  )


def _equal_before(one, i, other, j, most) -> int:
  """Return the number of equal bytes that end at one[:i] and other[:j], up to `most`."""
  return _longest(
    lambda at, size: one[i - at - size : i - at] == other[j - at - size : j - at], most
  )


def _longest(same, most) -> int:
  """Return the largest number of bytes, up to `most`, of which same(at, size) is true."""
  count, step = 0, 64
  while count < most:
    step = min(step, most - count)
    if same(count, step):
      count += step
      step = min(2 * step, CHUNK)
    elif step == 1:
      break
    else:
      step //= 2
      most = min(most, count + 2 * step + 1)
  return count
