"""Read what the bytes of a file say about its length and parts, which FFmpeg does not report."""

import io
import itertools
import mmap
import os
from collections.abc import Iterator
from typing import BinaryIO, Literal

# Recorders that write to a pipe put a size near 2 or 4 GiB in the header, meaning "until the end".
UNKNOWN_SIZES = range(0x7FFFF000, 0x100000000)
# Bytes before the audio of a head that is repaired, and files joined to one.
MAX_HEAD, MAX_JOINED = 1 << 24, 10_000


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
    file.seek(_id3_bytes(file.read(10)))
    head = file.read(4096)
  return any(tag in head for tag in (b"Xing", b"Info", b"VBRI"))


def audio_share(path: str) -> float:
  """Return which share of the audio that a header announces is in the file.

  Returns:
    present / announced bytes, at most 1; 1 for other files than WAV (also RF64 and Wave64) and CAF,
    and for sizes that mean "until the end".
  """
  size = os.path.getsize(path)
  long_length = 0  # of the audio in RF64
  with open(path, "rb") as file:
    for name, at, length in _chunks(file, size):
      if name == b"ds64":
        file.seek(at + 8)
        long_length = int.from_bytes(file.read(8), "little")
      if name == b"data":
        return _share(long_length or length, size - at)
  return 1.0


def wav_continues(path: str) -> bool:
  """Return True if what follows the audio of a WAV file is no chunk, so the size was too small."""
  size = os.path.getsize(path)
  with open(path, "rb") as file:
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
      return False
    for name, at, length in _chunks(file, size):
      if name == b"data":
        end = at + length + length % 2
        file.seek(end)
        following = file.read(4)
        return size - end >= 8 and not (following.isascii() and following.strip().isalnum())
  return False


def _chunks(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
  """Yield (name of 4 bytes, start, length) of the chunks of WAV, Wave64, AIFF and CAF."""
  file.seek(0)
  head = file.read(12)
  order: Literal["big", "little"] = "little" if head[:4] in (b"RIFF", b"RF64", b"riff") else "big"
  if head[:4] == b"riff":  # Wave64: names of 16 bytes, lengths of 8 that count the head
    at, name_bytes, length_bytes, align = 40, 16, 8, 8
  elif head[:4] == b"caff":
    at, name_bytes, length_bytes, align = 8, 4, 8, 1
  elif head[:4] in (b"RIFF", b"RF64", b"RIFX", b"FORM"):
    at, name_bytes, length_bytes, align = 12, 4, 4, 2
  else:
    return
  while at + name_bytes + length_bytes <= size:
    file.seek(at)
    chunk = file.read(name_bytes + length_bytes)
    length = int.from_bytes(chunk[name_bytes:], order)
    if name_bytes == 16:
      length = max(0, length - 24)
    at += len(chunk)
    yield chunk[:4], at, length
    at += length + -length % align


def _share(announced, present):
  if not announced or announced in UNKNOWN_SIZES or announced == (1 << 64) - 1:
    return 1.0
  return min(1.0, max(0, present) / announced)


def repaired_head(path: str) -> bytes:
  """Return the head of an AIFF, AU or Wave64 file with its true size where that says 0.

  A recorder writes the size when it stops. FFmpeg refuses a size of 0.

  Returns:
    Bytes in place of those at the beginning of the file; empty if there is nothing to repair.
  """
  size = os.path.getsize(path)
  with open(path, "rb") as file:
    head = bytearray(file.read(4))
    if head == b".snd":
      head += file.read(8)
      if len(head) == 12 and not any(head[8:]):
        head[8:] = b"\xff" * 4  # until the end
        return bytes(head)
      return b""
    if head not in (b"FORM", b"riff"):
      return b""
    frame_bytes, frames_at, frames = 0, 0, 0
    for name, at, length in _chunks(file, size):
      if at > MAX_HEAD:
        return b""
      if name == b"COMM" and head == b"FORM":
        file.seek(at)
        common = file.read(8)
        frame_bytes = int.from_bytes(common[:2], "big") * -(
          -int.from_bytes(common[6:8], "big") // 8
        )
        frames_at, frames = at + 2, int.from_bytes(common[2:6], "big")
      if name in (b"SSND", b"data") and not length:
        file.seek(0)
        wave64 = head == b"riff"
        head = bytearray(file.read(at))
        if wave64:
          head[at - 8 :] = (size - at + 24).to_bytes(8, "little")
          head[16:24] = size.to_bytes(8, "little")
          return bytes(head)
        head[at - 4 :] = min(size - at, 0xFFFFFFFF).to_bytes(4, "big")
        head[4:8] = min(size - 8, 0xFFFFFFFF).to_bytes(4, "big")
        if frame_bytes and not frames:
          frames = max(0, size - at - 8) // frame_bytes
          head[frames_at : frames_at + 4] = min(frames, 0xFFFFFFFF).to_bytes(4, "big")
        return bytes(head)
  return b""


def file_starts(path: str) -> list[int]:
  """Return the byte offsets at which the links of a chained, or the files of a joined, file begin.

  Chained Ogg, and joined WAV, Wave64, AIFF, MP4, WavPack and TTA. FFmpeg itself reads joined MP3
  and FLAC.

  Returns:
    Offsets in rising order, the first one 0.
  """
  size = os.path.getsize(path)
  with open(path, "rb") as file:
    head = file.read(8)
    if head[:4] == b"OggS":
      return _ogg_links(path)
    if head[:4] == b"wvpk":
      return list(itertools.islice(_wavpack_starts(file, size), MAX_JOINED))
    if head[4:] == b"ftyp":
      begins = (at for name, at in _mp4_boxes(file, size) if name == b"ftyp")
      return list(itertools.islice(begins, MAX_JOINED))
    starts = [0]
    while (end := _container_end(file, starts[-1])) and end < size and len(starts) < MAX_JOINED:
      end = _after_tags(file, end)
      file.seek(end)
      if not file.read(12).startswith(
        (b"RIFF", b"RF64", b"RIFX", b"riff\x2e\x91", b"FORM", b"TTA1")
      ):
        break
      starts.append(end)
  return starts


def _wavpack_starts(file: BinaryIO, size: int) -> Iterator[int]:
  """Yield the starts of the first WavPack block of each file."""
  at, blocks = 0, 0
  while at + 32 <= size:
    file.seek(at)
    head = file.read(32)
    if head[:4] != b"wvpk":
      after = _after_tags(file, at)
      if after == at:
        return
      at = after
      continue
    first = not any(head[16:20]) and not head[10] and head[25] & 8  # the first block of its samples
    if first or not blocks:
      yield at
    at += 8 + int.from_bytes(head[4:8], "little")
    blocks += 1


def _after_tags(file: BinaryIO, at: int) -> int:
  """Return the position after an APEv2, ID3v1 or ID3v2 tag that begins at `at`; else `at`."""
  file.seek(at)
  head = file.read(16)
  if head[:8] == b"APETAGEX":
    return at + 32 + int.from_bytes(head[12:16], "little")  # the head, and items with the footer
  if head[:3] == b"TAG":
    return at + 128
  return at + _id3_bytes(head)


def _id3_bytes(head: bytes) -> int:
  """Return the length of the ID3v2 tag with this beginning, or 0."""
  if head[:3] != b"ID3" or len(head) < 10:
    return 0
  return 10 + sum(
    (byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)
  )


def _container_end(file: BinaryIO, start: int) -> int:
  """Return where the container that begins at `start` ends by its header, 0 if that is unknown."""
  file.seek(start)
  head = file.read(24)
  if head[:4] == b"riff":
    length = int.from_bytes(head[16:24], "little")
    return start + length + -length % 8 if length else 0
  if head[:4] == b"TTA1":
    rate, samples = int.from_bytes(head[10:14], "little"), int.from_bytes(head[14:18], "little")
    frames = -(-samples // max(1, rate * 256 // 245))  # of 256 / 245 s
    file.seek(start + 22)
    table = file.read(4 * min(frames, MAX_HEAD))
    sizes = (int.from_bytes(table[at : at + 4], "little") for at in range(0, len(table), 4))
    return start + 22 + len(table) + 4 + sum(sizes)
  if head[:4] not in (b"RIFF", b"RIFX", b"FORM"):
    return 0
  length = int.from_bytes(head[4:8], "little" if head[:4] == b"RIFF" else "big")
  return start + 8 + length + length % 2 if length and length not in UNKNOWN_SIZES else 0


def mp4_without_index(path: str) -> bool:
  """Return True for an MP4 file without the box `moov`, which encoders write last."""
  with open(path, "rb") as file:
    names = [name for name, _ in _mp4_boxes(file, os.path.getsize(path))]
  return b"ftyp" in names[:1] and b"moov" not in names


def _mp4_boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
  """Yield (name, start) of the boxes at the top level of an MP4 file."""
  at = 0
  while at + 8 <= size:
    file.seek(at)
    head = file.read(16)
    yield head[4:8], at
    length = int.from_bytes(head[:4], "big")
    if length == 1:
      length = int.from_bytes(head[8:16], "big")
    if length < 8:  # 0: until the end
      return
    at += length


def _ogg_links(path: str) -> list[int]:
  """Return where the links of a chained Ogg file begin.

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
    head: Bytes in place of the first ones.
  """

  def __init__(self, path: str, start: int, end: int, head: bytes = b""):
    self._file = open(path, "rb", buffering=0)
    self._start, self._size, self._at, self._head = start, end - start, 0, head

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
    if self._at < len(self._head):
      head = self._head[self._at : self._at + len(data)]
      buffer[: len(head)] = head
    self._at += len(data)
    return len(data)

  def close(self) -> None:
    self._file.close()
    super().close()
