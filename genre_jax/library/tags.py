"""Read and edit the tags of music files, with mutagen (GPL-2.0-or-later).

The kind of a file is recognized by its content. A genre can be in several places of one file; all
are read, and an edit changes the main place and every other place that has a genre.
"""

from collections.abc import Callable
from typing import Any, BinaryIO

from mutagen import (
  MutagenError,
  aiff,
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
from genre_jax.library.tag_keys import ASF, BASIC, JOINT, MP4, PROVENANCE, VORBIS
from genre_jax.library.tag_places import (
  LIKE_A_NUMBER,
  Container,
  Id3,
  TagError,
  WithOtherGenres,
  ape_tags,
  id3_at_start,
  id3_chunk,
  is_asf_genre,
  is_mp4_genre,
)

OGG = {
  b"\x01vorbis": oggvorbis.OggVorbis,
  b"OpusHead": oggopus.OggOpus,
  b"\x7fFLAC": oggflac.OggFLAC,
  b"Speex   ": oggspeex.OggSpeex,
}
OGG_PAGE = 28  # bytes before the first packet of an Ogg file


def _after_id3(file: BinaryIO) -> tuple[int, int]:
  """Return the position after ID3v2 tags at the beginning of a file, and how many there are."""
  position, count = 0, 0
  while True:
    file.seek(position)
    head = file.read(10)
    if len(head) < 10 or head[:3] != b"ID3" or max(head[6:]) > 127:
      return position, count
    footer = 10 if head[5] & 16 else 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    position, count = position + 10 + size + footer, count + 1


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
    self._riff = False  # a WAV file, in which older programs read RIFF INFO alone
    self._info: list[tuple[int, str]] = []  # genres of RIFF INFO
    try:
      self.place, self._main = self._open()
    except TagError:
      raise
    except (MutagenError, ValueError, KeyError, IndexError, EOFError) as error:
      raise TagError(f"its tags are damaged: {error or type(error).__name__}") from error

  def _open(self) -> tuple[str, Any]:
    file = self._file
    start, count = _after_id3(file)
    if count > 1:
      raise TagError(f"has {count} ID3v2 tags, of which programs read different ones; keep one")
    if end := raw_tags.tag_at_end(file):
      raise TagError(f"has {end}, which genre_jax does not read; remove it")
    file.seek(start)
    head = file.read(OGG_PAGE + 8)
    found = sound_format(head[:SNIFFED_BYTES])
    file.seek(0)
    if found in ("MPEG", "FLAC", "TTA", "WavPack", "Monkey's Audio", "Musepack") or start:
      self._v1 = raw_tags.id3v1(file)
    if found == "FLAC":
      if start:
        self._others["ID3v2 before FLAC"] = id3_at_start(file, True)
      self._add_ape(file)
      file.seek(0)
      return "Vorbis comment", Container(flac.FLAC(file), VORBIS)
    if found in ("MPEG", "TTA") or (start and not found):
      self._add_ape(file)
      return "ID3v2", id3_at_start(file, start > 0)
    if start:
      raise TagError(f"has ID3v2 before {found}; remove these tags first")
    if found in ("WavPack", "Monkey's Audio", "Musepack"):
      return "APEv2", ape_tags(file)
    if found == "Ogg":
      for magic, kind in OGG.items():
        if head[OGG_PAGE:].startswith(magic):
          return "Vorbis comment", Container(kind(file), VORBIS)
    if found == "MP4":
      return "MP4", WithOtherGenres(is_mp4_genre, mp4.MP4(file), MP4, mp4.MP4FreeForm)
    if found == "WMA":
      return "ASF", WithOtherGenres(is_asf_genre, asf.ASF(file), ASF)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
      self._riff, self._info = True, raw_tags.info_genres(file)
      file.seek(0)
      return "ID3v2", id3_chunk(wave.WAVE, file)
    if found in ("AIFF", "DSF"):
      return "ID3v2", id3_chunk(aiff.AIFF if found == "AIFF" else dsf.DSF, file)
    raise TagError("its format has no tags that genre_jax can read")

  def _add_ape(self, file):
    ape = ape_tags(file)
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
    """Write genres into the main place, every other place that has one, and existing ID3v1.

    Raises:
      TagError: If programs would read them from ID3v2 as other genres.
    """
    if any(isinstance(tags, Id3) for tags in (self._main, *self._others.values())):
      for genre in filter(LIKE_A_NUMBER.match, genres):
        raise TagError(
          f"programs would read the genre {genre!r} in ID3 as a number; give it another name with"
          " --names"
        )
    beside = [*(["ID3v1"] if self._v1 else []), *(["RIFF INFO"] if self._riff else [])]
    places = (*self.genres(), self.place, *beside)
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
    if self._riff and places.get("RIFF INFO"):
      raw_tags.add_info_genre(self._file, JOINT.join(places["RIFF INFO"]))
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
