"""GTZAN as people have it: a folder of GENRE.NNNNN files, the original archive, or
tensorflow-datasets.

A source: says which clips exist, with artists as groups. 1000 clips of 30 s, 10 genres x 100, 22050
Hz mono (Tzanetakis and Cook, 2002). The clips are commercial recordings without a licence: research
only.
"""

import csv
import functools
import os
import pathlib
import re

from genre_jax.data import clips as clips_lib
from genre_jax.data.clips import Clip, Request, Source
from genre_jax.errors import UserError

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
SPLITS = pathlib.Path(__file__).parent / "gtzan_splits"
# Kaggle's copy is Data/genres_original/GENRE/GENRE.NNNNN.wav.
FOLDER_DEPTH = 4
FORMATS = ("wav", "flac", "au", "mp3")


@functools.lru_cache(maxsize=1)
def artists() -> dict[str, str]:
  """Artist id of each track, of Foleis and Tavares (2020): {'blues.00000': 'artist-0', ...}."""
  with open(SPLITS / "artists.csv", newline="") as file:
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


def find_files(folder) -> tuple[dict[str, str], int, int]:
  """GTZAN files below a folder: ({track: path}, doubles left out, other files left out)."""
  found, others = {}, 0
  for _, path in clips_lib.list_files(folder, FOLDER_DEPTH):
    match = FILE.fullmatch(os.path.basename(path))
    if match:
      found.setdefault(match[1], []).append((FORMATS.index(match[3]), path))
    else:
      others += 1
  doubles = sum(len(paths) - 1 for paths in found.values())
  return {track: min(paths)[1] for track, paths in sorted(found.items())}, doubles, others


def open_gtzan(request: Request) -> Source:
  """GTZAN from a folder, genres.tar.gz, a tensorflow-datasets folder, or 'download'."""
  from genre_jax.data import gtzan_archive, gtzan_tfds, tfds_audio

  path, genres, groups, flag = request.path, request.genres, request.groups, request.flag
  if path == "download" and not os.path.exists(path):
    path = gtzan_archive.download(request.cache_dir)
  if os.path.isfile(path):
    if not path.endswith((".tar.gz", ".tgz")):
      raise UserError(
        f"{flag}: as source gtzan a file must be the original genres.tar.gz; otherwise give the "
        "folder that holds GENRE/GENRE.NNNNN.wav. An .npz is --config.dataset.source=mel_archive."
      )
    path = gtzan_archive.extract(path, request.cache_dir)
  if not os.path.isdir(path):
    raise UserError(f"{flag}: there is no such file or folder.")
  if version := tfds_audio.find_version(path, "gtzan"):
    return gtzan_tfds.open_folder(version, genres, groups)
  found, doubles, others = find_files(path)
  if not found:
    raise UserError(
      f"{flag}: no file named GENRE.NNNNN.wav, .flac, .au or .mp3 (such as blues/blues.00000.wav) "
      f"lies there or up to {FOLDER_DEPTH} folders below. For other collections of "
      "the form DIR/GENRE/FILE "
      "use --config.dataset.source=audio_folder."
    )
  notes = []
  if doubles:
    notes.append(
      f"{doubles} files are second copies of a track in another place or format: left out"
    )
  if others:
    notes.append(f"{others} other files left out")
  every = [gtzan_clip(track, path=file) for track, file in found.items()]
  return gtzan_source(every, genres, groups, clips_lib.AudioFileReader(), notes=notes)


def gtzan_source(every, genres, groups, reader, *, notes=(), identity="", name="gtzan") -> Source:
  """A Source of those GTZAN clips whose genre is asked for."""
  classes = clips_lib.choose_classes(genres, (clip.labels[0] for clip in every), DEFAULT_GENRES)
  clips = sorted((clip for clip in every if clip.labels[0] in classes), key=lambda clip: clip.track)
  notes = list(notes)
  if groups:
    clips, more = clips_lib.grouped(clips, clips_lib.read_groups(groups), groups)
    notes += more
  elif unknown := sum(not clip.has_group for clip in clips):
    notes.append(f"{unknown} of {len(clips)} clips have no artist id")
  if not identity:
    identity = clips_lib.file_stamps((clip.track, clip.path) for clip in clips)
  return Source(name, classes, tuple(clips), reader, identity, tuple(notes))
