"""Name the tags of each format, {plain name: key}, and read the values that this program writes."""

import json

PROVENANCE = "GENRE_JAX"  # the tag with the origin of a genre
BASIC = ("title", "artist", "albumartist", "album")
HUMAN = "human"  # who chose the genres, in that tag
JOINT = "; "  # between several genres in one value
FORM = "----:com.apple.iTunes:"  # before the names of free tags in MP4

VORBIS = {name: name.upper() for name in (*BASIC, "genre", PROVENANCE)}
APE = {
  "title": "Title",
  "artist": "Artist",
  "albumartist": "Album Artist",
  "album": "Album",
  "genre": "Genre",
  PROVENANCE: PROVENANCE,
}
MP4 = {
  "title": "\xa9nam",
  "artist": "\xa9ART",
  "albumartist": "aART",
  "album": "\xa9alb",
  "genre": "\xa9gen",
  PROVENANCE: FORM + PROVENANCE,
}
ASF = {
  "title": "Title",
  "artist": "Author",
  "albumartist": "WM/AlbumArtist",
  "album": "WM/AlbumTitle",
  "genre": "WM/Genre",
  PROVENANCE: PROVENANCE,
}


def parts_of(text: str) -> list[str]:
  """Return the genres that a value joins by semicolons."""
  return [part.strip() for part in text.split(";")]


def values_of(places: dict[str, list[str]]) -> list[str]:
  """Return the values in all places of {place: values}, each once."""
  return list(dict.fromkeys(value for values in places.values() for value in values))


def all_parts(places: dict[str, list[str]]) -> set[str]:
  """Return the genres in all places of {place: values}, without semicolons."""
  return {part for values in places.values() for text in values for part in parts_of(text)}


def by_human(provenance: str) -> bool:
  """Return whether an origin tag says that a human chose the genres."""
  try:
    return json.loads(provenance)["by"] == HUMAN
  except (ValueError, KeyError, TypeError):
    return False


def written_genres(provenance: str) -> set[str]:
  """Return the genres that this program wrote, as `parts_of` has them, from their origin tag."""
  try:
    return all_parts({"": list(map(str, json.loads(provenance)["genres"]))})
  except (ValueError, KeyError, TypeError):
    return set()
