"""Read and write the places of tags in music files, of the formats that mutagen knows.

This module and `tags.py` alone import mutagen (GPL-2.0-or-later).
"""

import re
from collections.abc import Callable
from typing import Any, BinaryIO

from mutagen import apev2, flac, id3

from genre_jax.library.tag_keys import APE, FORM, JOINT, PROVENANCE

# Names that readers of ID3 take for the number of a genre, or for a remix or cover. FFmpeg reads
# every name that begins with a number so.
LIKE_A_NUMBER = re.compile(r"\(|[0-9]{1,3}(?![0-9])|(RX|CR)$")


class TagError(Exception):
  """The tags of a file cannot be read or changed; the message is the reason."""


class Id3:
  """Frames of ID3v2 by plain names; frames of ID3v2.2 are read only."""

  FRAMES = {
    "title": ("TIT2", "TT2"),
    "artist": ("TPE1", "TP1"),
    "albumartist": ("TPE2", "TP2"),
    "album": ("TALB", "TAL"),
    "genre": ("TCON", "TCO"),
  }

  def __init__(self, tags: Any):
    self.tags = tags
    self.version = tags.version[1] if tags.version[0] == 2 else 4

  def _free(self, name: str) -> list[Any]:
    return [f for f in self.tags.getall("TXXX") + self.tags.getall("TXX") if f.desc.upper() == name]

  def read(self, name: str) -> list[str]:
    values: list[str] = []
    for key in self.FRAMES.get(name, ()):
      for frame in self.tags.getall(key):
        values += _genres_of(frame) if name == "genre" else list(map(str, frame.text))
    for frame in self._free(name.upper()) if name in ("genre", PROVENANCE) else ():
      values += map(str, frame.text)
    return values

  def write(self, name: str, values: list[str]) -> None:
    if self.version not in (3, 4):
      raise TagError("has ID3v2.2 tags, which would have to become ID3v2.3; convert them first")
    if name == "genre" and self.version == 3 and values:
      values = [JOINT.join(values)]
    for frame in self._free(name.upper()):
      del self.tags[frame.HashKey]
    plain = all(value.isascii() for value in values)
    encoding = id3.Encoding.LATIN1 if plain else id3.Encoding.UTF16
    if name == "genre":
      self.tags.delall("TCON")
      if values:
        self.tags.add(id3.TCON(encoding=encoding, text=[_escaped(value) for value in values]))
    elif values:
      self.tags.add(id3.TXXX(encoding=encoding, desc=name, text=values))

  def save(self, file: BinaryIO) -> None:
    self.tags.save(file, v2_version=self.version, v23_sep=None)

  def others(self) -> Any:
    own = {"TCON", "TCO", "TXXX:GENRE", f"TXXX:{PROVENANCE}"}
    frames = {key: repr(value) for key, value in self.tags.items() if key.upper() not in own}
    return frames, sorted(self.tags.unknown_frames), self.version


def _genres_of(frame: Any) -> list[str]:
  """Return the genres of a TCON frame, numbers as names; a number that has no name is no genre."""
  return [genre for genre in frame.genres if genre != "Unknown" or genre in frame.text]


def _escaped(genre: str) -> str:
  """Return the text of a TCON frame that is read as a genre.

  Raises:
    TagError: If every such text would be read as another genre.
  """
  for text in (genre, f"({genre}"):  # ID3v2.3 doubles a bracket at the beginning
    if id3.TCON(encoding=id3.Encoding.UTF8, text=[text]).genres == [genre]:
      return text
  raise TagError(f"the genre {genre!r} would be read as another one")


def _text(value: Any) -> str:
  return bytes(value).decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class Keyed:
  """Tags that are lists of values by key.

  Args:
    tags: The dictionary of mutagen.
    keys: {plain name: key}; the first is written.
    kind: Of the values: str, or another type that is made from bytes.
  """

  def __init__(self, tags: Any, keys: dict[str, str], kind: Callable = str):
    self.tags, self._keys, self._kind = tags, keys, kind

  def read(self, name: str) -> list[str]:
    values = self.tags.get(self._keys[name]) or []
    return list(map(_text, [values] if isinstance(values, str) else values))

  def write(self, name: str, values: list[str]) -> None:
    key = self._keys[name]
    if key in self.tags:
      del self.tags[key]
    if values and self._kind is not str and key.startswith(FORM):
      self.tags[key] = [self._kind(value.encode()) for value in values]
    elif values:
      self.tags[key] = values

  def save(self, file: BinaryIO) -> None:
    self.tags.save(file)

  def others(self) -> Any:
    own = {self._keys[name].lower() for name in ("genre", PROVENANCE)}
    return sorted((key, repr(self.tags[key])) for key in self.tags.keys() if key.lower() not in own)


class Container(Keyed):
  """Tags of a file object of mutagen, which writes them."""

  def __init__(self, whole: Any, keys: dict[str, str], kind: Callable = str):
    if whole.tags is None:
      whole.add_tags()
    super().__init__(whole.tags, keys, kind)
    self._whole = whole

  def save(self, file: BinaryIO) -> None:
    self._whole.save(file)

  def others(self) -> Any:
    blocks = [
      (block.code, block.write())
      for block in getattr(self._whole, "metadata_blocks", ())
      if isinstance(block, flac.Picture | flac.CueSheet | flac.SeekTable)
    ]
    return super().others(), blocks


def is_mp4_genre(key: str) -> bool:
  """Return whether a key is a free atom of MP4 for a genre, of any case and owner."""
  return key.startswith("----:") and key.rpartition(":")[2].upper() == "GENRE"


def is_asf_genre(key: str) -> bool:
  """Return whether a key of ASF is one of FFmpeg or of old players for a genre."""
  return key.upper() in ("GENRE", "WM/GENREID")


class WithOtherGenres(Container):
  """Tags of a format in which programs also store a genre under other keys.

  Args:
    is_genre: Returns whether a key is one of these.
    arguments: Those of `Container`.
  """

  def __init__(self, is_genre: Callable[[str], bool], *arguments: Any):
    super().__init__(*arguments)
    self._is_genre = is_genre

  def _other_keys(self) -> list[str]:
    return [key for key in self.tags.keys() if self._is_genre(key)]

  def read(self, name: str) -> list[str]:
    values = super().read(name)
    for key in self._other_keys() if name == "genre" else ():
      values += map(_text, self.tags[key])
    return list(dict.fromkeys(values))

  def write(self, name: str, values: list[str]) -> None:
    for key in self._other_keys() if name == "genre" else ():
      del self.tags[key]
    super().write(name, values)

  def others(self) -> Any:
    keys, (others, blocks) = self._other_keys(), super().others()
    return [item for item in others if item[0] not in keys], blocks


def id3_at_start(file: BinaryIO, has_id3: bool) -> Id3:
  """Return ID3v2 tags, or those of ID3v1 where there is no ID3v2: readers prefer ID3v2."""
  file.seek(0)
  try:
    return Id3(id3.ID3(file, translate=False, load_v1=not has_id3))
  except id3.ID3NoHeaderError:
    return Id3(id3.ID3())


def id3_chunk(kind: Any, file: BinaryIO) -> Id3:
  whole = kind(file, translate=False, load_v1=False)
  if whole.tags is None:
    whole.add_tags()
  return Id3(whole.tags)


def ape_tags(file: BinaryIO) -> Keyed:
  try:
    return Keyed(apev2.APEv2(file), APE)
  except apev2.APENoHeaderError:
    return Keyed(apev2.APEv2(), APE)
