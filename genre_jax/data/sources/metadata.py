"""Shared code of sources that read labels from a table beside the audio.

The sources audio_table, fma, jamendo and magnatagatune use it. Rows without a label or without an
audio file are counted and left out. For multi_label, a clip with none of the chosen labels is kept
as a negative example.
"""

import dataclasses
import os
import pathlib

from genre_jax.data.files import file_stamps
from genre_jax.data.groups import grouped, read_groups
from genre_jax.data.names import FileFinder, normal_names
from genre_jax.data.source import AudioFileReader, Clip, Request, Source, choose_classes
from genre_jax.errors import UserError

# Missing files that are listed one by one; there are many if a collection is incomplete.
MOST_LISTED = 50


def find_table(request: Request, names) -> pathlib.Path:
  """Return the path of a table: the path itself, or the first existing file below it.

  Args:
    request: Request with the path.
    names: Relative paths, in order of preference.

  Raises:
    UserError: If no file exists.
  """
  path = pathlib.Path(request.path)
  if path.is_file():
    return path
  for name in names:
    if (path / name).is_file():
      return path / name
  raise UserError(f"{request.flag}: there is no {' or '.join(names)}.")


def metadata_source(name: str, request: Request, listed: list[Clip], roots, notes=()) -> Source:
  """Return the source of clips that a table lists.

  Args:
    name: Name of the source.
    request: Request; `genres`, `groups` and `task` are used.
    listed: Clips with `path` relative to one of the roots; `labels` may be empty if the table
      says that a clip has none.
    roots: Folders that may contain the audio.
    notes: Lines for the user.

  Raises:
    UserError: If no listed file exists, or no clip has a chosen genre.
  """
  notes, skipped, existing, missing = list(notes), [], [], 0
  finder, names = FileFinder(), {}
  for clip in listed:
    found = next(
      (path for root in roots if os.path.isfile(path := os.path.join(root, clip.path))), None
    ) or next(filter(None, (finder.find(root, clip.path) for root in roots)), None)
    if found:
      found = os.path.abspath(found)
      if (before := names.setdefault(found, clip.track)) != clip.track:
        raise UserError(
          f"{request.flag}: the table lists the file {found} twice, as {before!r} and as"
          f" {clip.track!r}; keep one of the lines."
        )
      existing.append(dataclasses.replace(clip, path=found))
      continue
    missing += 1
    if missing <= MOST_LISTED:
      skipped.append((clip.track, f"there is no file {clip.path}"))
  if not any(clip.labels for clip in listed):
    raise UserError(f"{request.flag}: no line of the table names a known genre")
  if not existing:
    tried = " or ".join(str(root) for root in roots)
    raise UserError(
      f"{request.flag}: none of the {len(listed)} audio files that the table names, such as"
      f" {listed[0].path}, is in {tried}."
    )
  if missing:
    more = f", the first {MOST_LISTED} of them" if missing > MOST_LISTED else ""
    notes.append(f"{missing} of {len(listed)} audio files are missing{more} in skipped.json")
  request = dataclasses.replace(request, genres=normal_names(request.genres))
  classes, more = _classes(request, listed, existing, roots)
  notes += more
  clips, more = _labeled(existing, classes, request.task)
  notes += more
  if request.groups:
    groups = read_groups(request.groups, notes)
    clips, more = grouped(clips, groups, request.groups)
    notes += more
  elif alone := sum(not clip.has_group for clip in clips):
    notes.append(
      f"{alone} of {len(clips)} clips have no group (artist): each is a group of its own"
    )
  identity = file_stamps((clip.track, clip.path) for clip in clips)
  return Source(
    name, classes, tuple(clips), AudioFileReader(), identity, tuple(notes), tuple(skipped)
  )


def _classes(
  request: Request, listed: list[Clip], existing: list[Clip], roots
) -> tuple[tuple[str, ...], list[str]]:
  """Return the chosen classes among the labels of clips, and notes.

  Args:
    request: Request with `genres`.
    listed: All clips of the table.
    existing: Clips whose files exist.
    roots: Folders that were searched.
  """
  labels = {name for clip in existing for name in clip.labels}
  if not labels:
    raise UserError(f"{request.flag}: no clip whose file exists has a label.")
  for label in sorted(labels):
    if ";" in label:
      raise UserError(f"{request.flag}: the label {label!r} has a semicolon in its name.")
  missing_labels = sorted({name for clip in listed for name in clip.labels} - labels)
  unknown_labels = sorted(
    {name for clip in existing for name in clip.unknown} - labels - set(missing_labels)
  )
  requested = {name.strip() for name in request.genres.split(",")}
  if wanted := requested.intersection(missing_labels):
    path = next(clip.path for clip in listed if min(wanted) in clip.labels)
    raise UserError(
      f"--config.dataset.genres={request.genres}: all files of {min(wanted)} are"
      f" missing: put them, such as {path}, in {' or '.join(map(str, roots))}, or"
      " remove the genre."
    )
  if wanted := requested.intersection(unknown_labels):
    raise UserError(
      f"--config.dataset.genres={request.genres}: no clip has the label {min(wanted)}, it"
      f" is only unknown (?{min(wanted)}): label clips with it or remove the genre."
    )
  notes = (
    [f"labels that are only unknown, and thus not classes: {', '.join(unknown_labels)}"]
    if unknown_labels
    else []
  )
  if missing_labels:
    notes.append(
      f"labels whose files are all missing, and thus not classes: {', '.join(missing_labels)}"
    )
  return choose_classes(request.genres, labels), notes


def _labeled(existing, classes, task: str) -> tuple[list[Clip], list[str]]:
  """Return the usable clips with their labels among the classes, sorted by track, and notes."""
  several, clips = task == "multi_label", []
  for clip in existing:
    labels, unknown = (
      tuple(name for name in classes if name in names) for names in (clip.labels, clip.unknown)
    )
    if labels or (several and len(unknown) < len(classes)):
      clips.append(dataclasses.replace(clip, labels=labels, unknown=unknown))
  notes = []
  if unlabeled := sum(not clip.labels for clip in clips):
    notes.append(
      f"{unlabeled} of {len(clips)} clips have none of these labels: kept as negative examples"
    )
  if left_out := len(existing) - len(clips):
    which = "are unknown for all" if several else "have none of"
    notes.append(f"{left_out} clips {which} these labels: left out")
  return sorted(clips, key=lambda clip: clip.track), notes
