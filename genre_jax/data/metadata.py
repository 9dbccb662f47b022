"""Collections whose labels stand in a file beside the audio: what their sources share.

Serves audio_table, fma, jamendo and magnatagatune. Metadata and audio are seldom of one mind: files
may be missing, tracks without a label. Such rows are counted and left out, and the rest is used.
"""

import csv
import dataclasses
import os
import pathlib
from collections.abc import Iterator

from genre_jax.data import clips as clips_lib
from genre_jax.data.clips import Clip, Request, Source
from genre_jax.errors import UserError

# Missing files that are listed one by one; many are a collection that is only partly there.
MOST_LISTED = 50


def read_rows(path: str | os.PathLike, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
  """Yields (line number, cells) of the lines of a table that are not empty.

  Raises:
    UserError: if the file cannot be read as such a table.
  """
  try:
    with open(path, newline="", encoding="utf-8-sig") as file:
      rows = csv.reader(file, delimiter=delimiter)
      for row in rows:
        if any(cell.strip() for cell in row):
          yield rows.line_num, [cell.strip() for cell in row]
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise UserError(f"{path}: cannot be read as a table: {error}.") from error


def columns_of(header: list[str], names, path) -> list[int]:
  """Where columns stand in a header; UserError that names the first one missing."""
  for name in names:
    if name not in header:
      raise UserError(
        f"{path}: the column {name} is missing; its first line is "
        f"{','.join(header[:8])[:200]!r}{'...' if len(header) > 8 else ''}."
      )
  return [header.index(name) for name in names]


def find_table(request: Request, names) -> pathlib.Path:
  """The first of some files at the path or below it; the path may name the file itself.

  Args:
    request: its path.
    names: relative paths, the likelier first.
  """
  path = pathlib.Path(request.path)
  if path.is_file():
    return path
  for name in names:
    if (path / name).is_file():
      return path / name
  raise UserError(f"{request.flag}: there is no {' or '.join(names)}.")


def metadata_source(name: str, request: Request, every: list[Clip], roots, notes=()) -> Source:
  """The source of clips that a metadata file lists.

  Args:
    name: of the source.
    request: `genres` and `groups` are heeded.
    every: clips with `path` relative to one of the roots.
    roots: folders that may hold the audio.
    notes: lines for the user.
  Raises:
    UserError: if no listed file is there, or a genre is asked for that no clip has.
  """
  notes, skipped, here, missing = list(notes), [], [], 0
  for clip in every:
    found = next((path for root in roots if os.path.isfile(path := os.path.join(root, clip.path))),
                 None)
    if found:
      here.append(dataclasses.replace(clip, path=os.path.abspath(found)))
      continue
    missing += 1
    if missing <= MOST_LISTED:
      skipped.append((clip.track, f"there is no file {clip.path}"))
  if not every:
    raise UserError(f"{request.flag}: no line of the metadata names a genre that is known")
  if not here:
    tried = " or ".join(str(root) for root in roots)
    example = f", as {every[0].path},"
    raise UserError(f"{request.flag}: none of the {len(every)} audio files that the metadata names"
                    f"{example} lies in {tried}.")
  if missing:
    more = f", the first {MOST_LISTED} of them" if missing > MOST_LISTED else ""
    notes.append(f"{missing} of {len(every)} audio files are missing{more} in skipped.json")
  every_name = sorted({name for clip in here for name in (*clip.labels, *clip.unknown)})
  for label in every_name:
    if ";" in label:
      raise UserError(f"{request.flag}: the label {label!r} has a semicolon in its name.")
  classes = clips_lib.choose_classes(request.genres, every_name)
  clips = []
  for clip in here:
    labels = tuple(label for label in classes if label in clip.labels)
    if labels:
      unknown = tuple(label for label in classes if label in clip.unknown)
      clips.append(dataclasses.replace(clip, labels=labels, unknown=unknown))
  if len(clips) < len(here):
    notes.append(f"{len(here) - len(clips)} clips have none of these labels: left out")
  if not clips:
    raise UserError(f"{request.flag}: no clip has a label.")
  clips.sort(key=lambda clip: clip.track)
  if request.groups:
    groups = clips_lib.read_groups(request.groups)
    clips, more = clips_lib.grouped(clips, groups, request.groups)
    notes += more
  elif alone := sum(not clip.has_group for clip in clips):
    notes.append(f"{alone} of {len(clips)} clips have no group (artist): each counts as its own")
  identity = clips_lib.file_stamps((clip.track, clip.path) for clip in clips)
  return Source(name, classes, tuple(clips), clips_lib.AudioFileReader(), identity, tuple(notes),
                tuple(skipped))
