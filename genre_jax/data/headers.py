"""Read what the bytes of a file say about its length and parts, which FFmpeg does not report."""

import io
import mmap
import os
from typing import Literal

# Recorders that write to a pipe put a size near 2 or 4 GiB in the header, meaning "until the end".
UNKNOWN_SIZES = range(0x7FFFF000, 0x100000000)


def ogg_ends(path: str) -> bool:
  """Return True if the last Ogg page is complete and marked as the end of its stream."""
  size = os.path.getsize(path)
  with open(path, "rb") as file:
    # A page has at most 65307 bytes.
    file.seek(max(0, size - 2 * 65307))
    tail = file.read()
  at = tail.rfind(b"OggS")
  table = tail[at + 26 : at + 27]
  if at < 0 or not table:
    return False
  lengths = tail[at + 27 : at + 27 + table[0]]
  return at + 27 + table[0] + sum(lengths) <= len(tail) and bool(tail[at + 5] & 4)


def mp3_counts_frames(path: str) -> bool:
  """Return True if an MP3 has the tag with its number of frames; else its length is a guess."""
  with open(path, "rb") as file:
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
      start = 10 + sum(
        (byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
      )
    file.seek(start)
    head = file.read(4096)
  return any(tag in head for tag in (b"Xing", b"Info", b"VBRI"))


def pcm_share(path: str) -> float:
  """Return which share of the audio that a WAV header announces is in the file.

  Returns:
    present / announced bytes, at most 1; 1 for other files and for sizes that mean "until the end".
  """
  size = os.path.getsize(path)
  with open(path, "rb") as file:
    head = file.read(40)
    if head[:4] == b"riff":  # Wave64: names of 16 bytes, lengths of 8 that count the head
      at, name_bytes, length_bytes = 40, 16, 8
    elif head[:4] in (b"RIFF", b"RF64", b"RIFX"):
      at, name_bytes, length_bytes = 12, 4, 4
    else:
      return 1.0
    order: Literal["big", "little"] = "big" if head[:4] == b"RIFX" else "little"
    long_length = 0  # of the audio in RF64
    while at + name_bytes + length_bytes <= size:
      file.seek(at)
      chunk = file.read(name_bytes + length_bytes + 16)
      length = int.from_bytes(chunk[name_bytes : name_bytes + length_bytes], order)
      at += name_bytes + length_bytes
      if name_bytes == 16:
        length = max(0, length - 24)
      if chunk[:4] == b"ds64":
        long_length = int.from_bytes(chunk[16:24], order)
      if chunk[:4] == b"data":
        return _share(long_length or length, size - at)
      align = 8 if name_bytes == 16 else 2
      at += length + -length % align
  return 1.0


def wav_goes_on(path: str) -> bool:
  """Return True if what follows the audio of a WAV file is no chunk, so the size was too small."""
  size = os.path.getsize(path)
  with open(path, "rb") as file:
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
      return False
    at = 12
    while at + 8 <= size:
      file.seek(at)
      name, length = file.read(4), int.from_bytes(file.read(4), "little")
      at += 8 + length + length % 2
      if name == b"data":
        file.seek(at)
        following = file.read(4)
        return size - at >= 8 and not (following.isascii() and following.strip().isalnum())
  return False


def _share(announced, present):
  if not announced or announced in UNKNOWN_SIZES:
    return 1.0
  return min(1.0, max(0, present) / announced)


def ogg_links(path: str) -> list[int]:
  """Return the byte offsets at which the links of a chained Ogg file begin; [0] if it has one.

  A link begins with the pages that are marked as the beginning of a stream (RFC 3533).
  """
  links, in_header, at = [0], True, 0
  with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
    while (at := data.find(b"OggS", at)) >= 0 and at + 27 <= len(data):
      begins = bool(data[at + 5] & 2)
      if begins and not in_header:
        links.append(at)
      in_header = begins
      at += 4  # a page that was cut has not the length that it states
  return links


class FilePart(io.RawIOBase):
  """Bytes [start, end) of a file as a file of its own.

  Args:
    path: The file.
    start: First byte.
    end: Byte after the last.
  """

  def __init__(self, path: str, start: int, end: int):
    self._file = open(path, "rb", buffering=0)
    self._start, self._size, self._at = start, end - start, 0

  def readable(self) -> bool:
    return True

  def seekable(self) -> bool:
    return True

  def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
    """Move within the part; return the new position."""
    origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
    self._at = max(0, origin + offset)
    return self._at

  def readinto(self, buffer) -> int:
    """Read at most len(buffer) bytes; return their number, 0 at the end of the part."""
    data = os.pread(
      self._file.fileno(), max(0, min(len(buffer), self._size - self._at)), self._start + self._at
    )
    buffer[: len(data)] = data
    self._at += len(data)
    return len(data)

  def close(self) -> None:
    self._file.close()
    super().close()
