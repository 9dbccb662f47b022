"""Read and edit the tags of music files: the one module that imports mutagen (GPL-2.0-or-later).

The kind of a file is recognized by its content. A genre can be in several places of one file; all
are read, and an edit changes the main place and every other place that has a genre.
"""

from collections.abc import Callable
from typing import Any, BinaryIO

from mutagen import (
  MutagenError,
  aiff,
  apev2,
  asf,
  dsf,
  flac,
  id3,
  mp4,
  oggflac,
  oggopus,
  oggspeex,
  oggvorbis,
  wave,
)

from genre_jax.data.recognize import SNIFFED_BYTES, sound_format
from genre_jax.library import raw_tags
from genre_jax.library.tag_keys import APE, ASF, BASIC, FORM, JOINT, MP4, PROVENANCE, VORBIS

OGG = {
  b"\x01vorbis": oggvorbis.OggVorbis,
  b"OpusHead": oggopus.OggOpus,
  b"\x7fFLAC": oggflac.OggFLAC,
  b"Speex   ": oggspeex.OggSpeex,
}
OGG_PAGE = 28  # bytes before the first packet of an Ogg file


class TagError(Exception):
  """The tags of a file cannot be read or changed; the message is the reason."""


class _Id3:
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
        values += frame.genres if name == "genre" else list(map(str, frame.text))
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
        self.tags.add(id3.TCON(encoding=encoding, text=values))
    elif values:
      self.tags.add(id3.TXXX(encoding=encoding, desc=name, text=values))

  def save(self, file: BinaryIO) -> None:
    self.tags.save(file, v2_version=self.version, v23_sep=None)

  def others(self) -> Any:
    own = {"TCON", "TCO", "TXXX:GENRE", f"TXXX:{PROVENANCE}"}
    frames = {key: repr(value) for key, value in self.tags.items() if key.upper() not in own}
    return frames, sorted(self.tags.unknown_frames), self.version


class _Keyed:
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
    return [
      bytes(value).decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
      for value in ([values] if isinstance(values, str) else values)
    ]

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


class _Container(_Keyed):
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


def _after_id3(file: BinaryIO) -> int:
  """Return the position after ID3v2 tags at the beginning of a file."""
  position = 0
  while True:
    file.seek(position)
    head = file.read(10)
    if len(head) < 10 or head[:3] != b"ID3" or max(head[6:]) > 127:
      return position
    footer = 10 if head[5] & 16 else 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    position += 10 + size + footer


def _id3_at_start(file: BinaryIO, has_id3: bool) -> _Id3:
  """Return ID3v2 tags, or those of ID3v1 where there is no ID3v2: readers prefer ID3v2."""
  file.seek(0)
  try:
    return _Id3(id3.ID3(file, translate=False, load_v1=not has_id3))
  except id3.ID3NoHeaderError:
    return _Id3(id3.ID3())


def _id3_chunk(kind: Any, file: BinaryIO) -> _Id3:
  whole = kind(file, translate=False, load_v1=False)
  if whole.tags is None:
    whole.add_tags()
  return _Id3(whole.tags)


def _ape(file: BinaryIO) -> _Keyed:
  try:
    return _Keyed(apev2.APEv2(file), APE)
  except apev2.APENoHeaderError:
    return _Keyed(apev2.APEv2(), APE)


class Tags:
  """The tags of an open file.

  Args:
    file: The file, open for reading, and for writing if `save` is called.

  Raises:
    TagError: If its format has no tags that can be read, or they are damaged.
  """

  def __init__(self, file: BinaryIO):
    self._file = file
    self._others: dict[str, Any] = {}  # {place: tags} beside the main ones
    self._v1 = b""
    self._info: list[tuple[int, str]] = []  # genres of RIFF INFO
    try:
      self.place, self._main = self._open()
    except TagError:
      raise
    except (MutagenError, ValueError, KeyError, IndexError, EOFError) as error:
      raise TagError(f"its tags are damaged: {error or type(error).__name__}") from error

  def _open(self) -> tuple[str, Any]:
    file = self._file
    start = _after_id3(file)
    file.seek(start)
    head = file.read(OGG_PAGE + 8)
    found = sound_format(head[:SNIFFED_BYTES])
    file.seek(0)
    if found in ("MPEG", "FLAC", "TTA", "WavPack", "Monkey's Audio", "Musepack") or start:
      self._v1 = raw_tags.id3v1(file)
    if found == "FLAC":
      if start:
        self._others["ID3v2 before FLAC"] = _id3_at_start(file, True)
      self._add_ape(file)
      file.seek(0)
      return "Vorbis comment", _Container(flac.FLAC(file), VORBIS)
    if found in ("MPEG", "TTA") or (start and not found):
      self._add_ape(file)
      return "ID3v2", _id3_at_start(file, start > 0)
    if start:
      raise TagError(f"has ID3v2 before {found}; remove these tags first")
    if found in ("WavPack", "Monkey's Audio", "Musepack"):
      return "APEv2", _ape(file)
    if found == "Ogg":
      for magic, kind in OGG.items():
        if head[OGG_PAGE:].startswith(magic):
          return "Vorbis comment", _Container(kind(file), VORBIS)
    if found == "MP4":
      return "MP4", _Container(mp4.MP4(file), MP4, mp4.MP4FreeForm)
    if found == "WMA":
      return "ASF", _Container(asf.ASF(file), ASF)
    if found == "WAV" or head[:4] == b"RIFF" and head[8:12] == b"WAVE":
      self._info = raw_tags.info_genres(file)
      file.seek(0)
      return "ID3v2", _id3_chunk(wave.WAVE, file)
    if found in ("AIFF", "DSF"):
      return "ID3v2", _id3_chunk(aiff.AIFF if found == "AIFF" else dsf.DSF, file)
    raise TagError("its format has no tags that genre_jax can read")

  def _add_ape(self, file):
    ape = _ape(file)
    if len(ape.tags):
      self._others["APEv2"] = ape

  def basic(self) -> dict[str, str]:
    """Return title, artist, albumartist and album; '' for a tag that is absent."""
    return {name: JOINT.join(self._main.read(name)) for name in BASIC}

  def provenance(self) -> str:
    """Return the tag with the origin of the genre, or ''."""
    return "".join(self._main.read(PROVENANCE)[:1])

  def genres(self) -> dict[str, list[str]]:
    """Return {place: genres} of the places that have one."""
    found = {place: tags.read("genre") for place, tags in self._others.items()}
    found[self.place] = self._main.read("genre")
    if self._v1 and self._v1[-1] < len(id3.TCON.GENRES):
      found["ID3v1"] = [id3.TCON.GENRES[self._v1[-1]]]
    if self._info:
      found["RIFF INFO"] = [genre for _, genre in self._info]
    kept = {place: [v for v in values if v.strip()] for place, values in found.items()}
    return {place: values for place, values in kept.items() if values}

  def set_genres(self, genres: list[str], provenance: str) -> None:
    """Write genres into the main place, every other place that has one, and existing ID3v1."""
    places = (*self.genres(), self.place, *(["ID3v1"] if self._v1 else []))
    self.put_back({place: genres for place in places}, provenance)

  def put_back(self, places: dict[str, list[str]], provenance: str = "") -> None:
    """Write genres into the places of {place: genres} and remove those of all others."""
    self._main.write("genre", places.get(self.place, []))
    self._main.write(PROVENANCE, [provenance] if provenance else [])
    for place, tags in self._others.items():
      if places.get(place) or tags.read("genre"):
        tags.write("genre", places.get(place, []))
        self._file.seek(0)
        tags.save(self._file)
    if self._info:
      raw_tags.drop_info_genres(self._file)
    self._file.seek(0)
    self._main.save(self._file)
    if self._v1:
      # mutagen removes ID3v1 or makes it anew from ID3v2.
      first = places.get("ID3v1", [])[:1]
      number = id3.TCON.GENRES.index(first[0]) if first and first[0] in id3.TCON.GENRES else None
      last = raw_tags.NO_GENRE if number is None else number
      raw_tags.put_id3v1(self._file, self._v1[:-1] + bytes([last]))

  def others(self) -> Any:
    """Return all tags but the genre and its origin, in a form that can be compared."""
    beside = {place: tags.others() for place, tags in self._others.items()}
    return self._main.others(), beside, self._v1[:-1]


def edit(file: BinaryIO, change: Callable[[Tags], None]) -> dict[str, list[str]]:
  """Change the genre of an open file.

  Args:
    file: The file, open for reading and writing.
    change: Calls `set_genres` or `put_back`.

  Returns:
    {place: genres} after the change.

  Raises:
    TagError: If it cannot be changed, or if another tag would change with it.
  """
  tags = Tags(file)
  before = tags.others()
  try:
    change(tags)
  except (MutagenError, ValueError, KeyError) as error:
    if isinstance(cause := next(iter(error.args), None), OSError):  # mutagen wraps it
      raise cause from error
    raise TagError(f"its tags cannot be changed: {error or type(error).__name__}") from error
  file.flush()
  again = Tags(file)
  if again.others() != before:
    raise TagError("another tag would change with the genre")
  return again.genres()


def describe(path: str) -> dict[str, Any]:
  """Return the tags of a file as the library stores them.

  Returns:
    title, artist, albumartist, album, 'genres' {place: genres} and 'provenance', or 'unreadable'
    with the reason and no other entry.
  """
  try:
    with open(path, "rb") as file:
      tags = Tags(file)
      return {**tags.basic(), "genres": tags.genres(), "provenance": tags.provenance()}
  except TagError as error:
    return {"unreadable": str(error)}
  except OSError as error:
    return {"unreadable": f"cannot be read: {error.strerror or error}"}
  except Exception as error:  # a fault of a parser in one file must not end the others
    return {"unreadable": f"its tags are damaged: {type(error).__name__}: {error}"}
