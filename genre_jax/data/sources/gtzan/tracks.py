"""Genres, track names, artists and published lists of GTZAN, and the `Source` of its clips."""

import csv
import functools
import pathlib
import re

from genre_jax.data.files import file_stamps
from genre_jax.data.groups import grouped, read_groups
from genre_jax.data.source import SPLITS, Clip, Source, choose_classes

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
FILE = re.compile(rf"(({'|'.join(GENRES)})\.\d{{5}})\.(wav|flac|au|mp3)", re.IGNORECASE)
LISTS = pathlib.Path(__file__).parent / "lists"
FORMATS = ("wav", "flac", "au", "mp3")


@functools.lru_cache(maxsize=1)
def published_lists() -> dict[str, str]:
  """Return {track: split} of the lists of Kereliuk, Sturm and Larsen (2015)."""
  return {
    track: split for split in SPLITS for track in (LISTS / f"{split}.txt").read_text().split()
  }


@functools.lru_cache(maxsize=1)
def artists() -> dict[str, str]:
  """Return {track: artist id} of Foleis and Tavares (2020), such as {'blues.00000': 'artist-0'}."""
  with open(LISTS / "artists.csv", newline="") as file:
    return {row["name"]: f"artist-{row['artist']}" for row in csv.DictReader(file)}


def gtzan_clip(track: str, path="", index=0) -> Clip:
  """Return the clip of a GTZAN track, with its artist as group."""
  artist = artists().get(track)
  return Clip(
    track=track,
    group=artist or f"track:{track}",
    labels=(track.split(".")[0],),
    path=path,
    index=index,
    has_group=artist is not None,
  )


def gtzan_source(
  all_clips, genres, groups, reader, *, notes=(), identity="", name="gtzan"
) -> Source:
  """Return a Source of the GTZAN clips of the chosen genres."""
  classes = choose_classes(genres, (clip.labels[0] for clip in all_clips), DEFAULT_GENRES)
  clips = sorted(
    (clip for clip in all_clips if clip.labels[0] in classes), key=lambda clip: clip.track
  )
  notes = list(notes)
  if groups:
    clips, more = grouped(clips, read_groups(groups, notes), groups)
    notes += more
  elif unknown := sum(not clip.has_group for clip in clips):
    notes.append(f"{unknown} of {len(clips)} clips have no artist id")
  if not identity:
    identity = file_stamps((clip.track, clip.path) for clip in clips)
  return Source(name, classes, tuple(clips), reader, identity, tuple(notes))
