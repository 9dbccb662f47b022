"""GTZAN's genres, track names and artists, and the `Source` of a list of its clips."""

import csv
import functools
import pathlib
import re

from genre_jax.data.files import file_stamps
from genre_jax.data.groups import grouped, read_groups
from genre_jax.data.source import Clip, Source, choose_classes

GENRES = (
  "blues",
  "classical",
  "country",
  "disco",
  "hiphop",
  "jazz",
  "metal",
  "pop",
  "reggae",
  "rock",
)


# The four of the published experiments, in their order.
DEFAULT_GENRES = ("classical", "disco", "metal", "rock")


TRACK = re.compile(rf"({'|'.join(GENRES)})\.\d{{5}}")


FILE = re.compile(rf"(({'|'.join(GENRES)})\.\d{{5}})\.(wav|flac|au|mp3)")


LISTS = pathlib.Path(__file__).parent / "lists"


FORMATS = ("wav", "flac", "au", "mp3")


@functools.lru_cache(maxsize=1)
def artists() -> dict[str, str]:
  """Artist id of each track, of Foleis and Tavares (2020): {'blues.00000': 'artist-0', ...}."""
  with open(LISTS / "artists.csv", newline="") as file:
    return {row["name"]: f"artist-{row['artist']}" for row in csv.DictReader(file)}


def gtzan_clip(track: str, path="", index=0) -> Clip:
  """The clip of a GTZAN name, its artist as group."""
  artist = artists().get(track)
  return Clip(
    track=track,
    group=artist or f"track:{track}",
    labels=(track.split(".")[0],),
    path=path,
    index=index,
    has_group=artist is not None,
  )


def gtzan_source(every, genres, groups, reader, *, notes=(), identity="", name="gtzan") -> Source:
  """A Source of those GTZAN clips whose genre is asked for."""
  classes = choose_classes(genres, (clip.labels[0] for clip in every), DEFAULT_GENRES)
  clips = sorted((clip for clip in every if clip.labels[0] in classes), key=lambda clip: clip.track)
  notes = list(notes)
  if groups:
    clips, more = grouped(clips, read_groups(groups), groups)
    notes += more
  elif unknown := sum(not clip.has_group for clip in clips):
    notes.append(f"{unknown} of {len(clips)} clips have no artist id")
  if not identity:
    identity = file_stamps((clip.track, clip.path) for clip in clips)
  return Source(name, classes, tuple(clips), reader, identity, tuple(notes))
