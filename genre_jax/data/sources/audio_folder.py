"""Source: a collection of the form DIR/GENRE/FILE, with an optional table of groups.

The labels are the names of the folders. Files in deeper folders have the label of the topmost one.
"""

import itertools
import os

from genre_jax.data.files import file_stamps, list_files
from genre_jax.data.groups import grouped, read_groups
from genre_jax.data.names import (
  describe_spellings,
  name_key,
  normal_name,
  normal_names,
  spelling_pairs,
)
from genre_jax.data.recognize import is_audio_name
from genre_jax.data.source import AudioFileReader, Clip, Request, Source, choose_classes
from genre_jax.errors import UserError

SHOWN_SPELLINGS = 10  # pairs in a message


def open_audio_folder(request: Request) -> Source:
  """Open a folder with one folder per genre as a source."""
  path, flag = request.path, request.flag
  if not os.path.isdir(path):
    raise UserError(f"{flag}: there is no such folder.")
  all_clips, others, loose = [], 0, 0
  folders: dict[str, set[str]] = {}  # {genre in normal form: names of folders}
  for name, file in list_files(path):
    if not is_audio_name(name):
      others += 1
    elif "/" not in name:
      loose += 1
    else:
      top = name.split("/")[0]
      genre = normal_name(top) or top
      folders.setdefault(genre, set()).add(top)
      all_clips.append(Clip(name, f"track:{name}", (genre,), file, has_group=False))
  if not all_clips:
    raise UserError(
      f"{flag}: no audio was found. It must be a folder with one folder for each genre, "
      "DIR/GENRE/FILE.wav (or .flac, .ogg, .opus, .mp3)."
      + (f" There are {loose} audio files in no genre folder." if loose else "")
    )
  genres = normal_names(request.genres)
  classes = choose_classes(genres, (clip.labels[0] for clip in all_clips))
  keys = set(map(name_key, classes))
  chosen = [names for genre, names in folders.items() if name_key(genre) in keys]
  if pairs := spelling_pairs(itertools.chain(*chosen)):
    described = "; ".join(describe_spellings(*pair) for pair in pairs[:SHOWN_SPELLINGS])
    raise UserError(
      f"{flag}: the genre folders {described}, so one genre would be two: put their files into one"
      " folder, or rename one."
    )
  for name in classes:
    if ";" in name or "," in name:
      raise UserError(
        f"{flag}: the genre folder {name!r} has a comma or semicolon in its name: rename it."
      )
  clips = sorted(
    (clip for clip in all_clips if clip.labels[0] in classes), key=lambda clip: clip.track
  )
  notes = []
  if loose:
    notes.append(f"{loose} audio files directly in {path}, in no genre folder: left out")
  if others:
    notes.append(f"{others} files that are not audio by their names: left out")
  if request.groups:
    groups = read_groups(request.groups, notes)
    clips, more = grouped(clips, groups, request.groups)
    notes += more
  else:
    notes.append(
      "no table of groups (--config.dataset.groups=CSV): each file is a group of its own, so one "
      "artist or recording may be in two splits"
    )
  identity = file_stamps((clip.track, clip.path) for clip in clips)
  return Source("audio_folder", classes, tuple(clips), AudioFileReader(), identity, tuple(notes))
