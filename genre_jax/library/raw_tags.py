"""Read and change the genres that are outside of a file's main tags: ID3v1 and RIFF INFO.

Layouts: ID3v1 is the last 128 bytes (https://id3.org/ID3v1); RIFF INFO is a chunk LIST of type INFO
with the genre in IGNR (Multimedia Programming Interface and Data Specifications 1.0, 1991), of some
programs in GENR.
"""

import os
from typing import BinaryIO

V1_BYTES = 128
NO_GENRE = 255  # the last byte of ID3v1, for no genre
# (name, first bytes, their distance from the end, or from ID3v1): both can contain a genre.
ENDS = (("ID3v2 at the end", b"3DI", 10), ("the enhanced tag TAG+", b"TAG+", 227))
MAX_CHUNKS = 10_000
MAX_VALUE = 1 << 16


def id3v1(file: BinaryIO) -> bytes:
  """Return the 128 bytes of an ID3v1 tag, or b'' if the file has none."""
  size = file.seek(0, os.SEEK_END)
  if size < V1_BYTES:
    return b""
  file.seek(size - V1_BYTES)
  tag = file.read(V1_BYTES)
  return tag if tag.startswith(b"TAG") else b""


def tag_at_end(file: BinaryIO) -> str:
  """Return the name of a tag at the end of a file that this program does not read, or ''."""
  end = file.seek(0, os.SEEK_END) - len(id3v1(file))
  for name, magic, before in ENDS:
    if end >= before:
      file.seek(end - before)
      if file.read(len(magic)) == magic:
        return name
  return ""


def put_id3v1(file: BinaryIO, tag: bytes) -> None:
  """Write the 128 bytes of an ID3v1 tag in place of the existing one, or at the end."""
  size = file.seek(0, os.SEEK_END)
  file.seek(size - V1_BYTES if id3v1(file) else size)
  file.write(tag)


def info_genres(file: BinaryIO) -> list[tuple[int, str]]:
  """Return (position of the chunk's name, genre) of the genres in RIFF INFO of a WAV file."""
  found = []
  for name, start, size in _chunks(file, 12, file.seek(0, os.SEEK_END)):
    if name != b"LIST":
      continue
    file.seek(start)
    if file.read(4) != b"INFO":
      continue
    for key, place, length in _chunks(file, start + 4, start + size):
      if key.upper() in (b"IGNR", b"GENR"):
        file.seek(place)
        text = file.read(min(length, MAX_VALUE)).rstrip(b"\0 ")
        found.append((place - 8, text.decode("utf-8", "replace")))
  return found


def drop_info_genres(file: BinaryIO) -> None:
  """Make the genres in RIFF INFO chunks that every reader skips."""
  for place, _ in info_genres(file):
    file.seek(place)
    file.write(b"JUNK")


def add_info_genre(file: BinaryIO, genre: str) -> None:
  """Append a genre in RIFF INFO to a WAV file, unless its header does not say where it ends."""
  size = file.seek(0, os.SEEK_END)
  file.seek(0)
  head = file.read(8)
  if head[:4] != b"RIFF" or int.from_bytes(head[4:], "little") not in (size - 8, size - 7):
    return
  text = genre.encode() + b"\0"
  text += bytes(len(text) % 2)
  content = b"INFOIGNR" + len(text).to_bytes(4, "little") + text
  chunk = bytes(size % 2) + b"LIST" + len(content).to_bytes(4, "little") + content
  length = size + len(chunk) - 8
  if length >= 1 << 32:
    return
  file.seek(size)
  file.write(chunk)
  file.seek(4)
  file.write(length.to_bytes(4, "little"))


def _chunks(file, start, end):
  """Yield (name, position of the content, size) of RIFF chunks between two positions."""
  for _ in range(MAX_CHUNKS):
    file.seek(start)
    head = file.read(8)
    if len(head) < 8 or start + 8 > end:
      return
    size = int.from_bytes(head[4:], "little")
    yield head[:4], start + 8, min(size, end - start - 8)
    start += 8 + size + size % 2
