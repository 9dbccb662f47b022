"""Collections whose labels stand in a file beside the audio: what their sources share.

Serves audio_table, fma, jamendo and magnatagatune. Metadata and audio are seldom of one mind: files
may be missing, tracks without a label. Such rows are counted and left out, and the rest is used.
Where a clip may have several labels, one that carries none of the chosen ones stays as an example
of what they are not.
"""

import csv
import dataclasses
import os
import pathlib
from collections.abc import Iterator

from genre_jax.data.files import file_stamps
from genre_jax.data.groups import grouped, read_groups
from genre_jax.data.source import AudioFileReader, Clip, Request, Source, choose_classes
from genre_jax.errors import UserError

# Missing files that are listed one by one; many are a collection that is only partly there.
MOST_LISTED = 50


def read_rows(path: str | os.PathLike, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
  """Yields (number of its first line, cells) of the rows of a table that are not empty.

  Raises:
    UserError: if the file cannot be read as such a table.
  """
  line = 1
  try:
    with open(path, newline="", encoding="utf-8-sig") as file:
      rows = csv.reader(file, delimiter=delimiter, strict=True)
      for row in rows:
        if any(cell.strip() for cell in row):
          yield line, [cell.strip() for cell in row]
        line = rows.line_num + 1
  except csv.Error as error:
    mark = {",": "commas", "\t": "tabs"}[delimiter]
    raise UserError(
      f"{path}, line {line}: cannot be read as a table: {error}; put {mark} between"
      " the cells; one that begins with a quote must end with one, and a quote inside"
      " it stands twice."
    ) from error
  except (OSError, UnicodeDecodeError) as error:
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


def check_first(lines: dict[str, int], track: str, path, line: int, remedy: str) -> None:
  """Enters a track in {track: line}; UserError if it is there already."""
  if track in lines:
    raise UserError(
      f"{path}, line {line}: {track} was listed in line {lines[track]} already; {remedy}."
    )
  lines[track] = line


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
    request: `genres`, `groups` and `task` are heeded.
    every: clips with `path` relative to one of the roots; `labels` may be empty where the metadata
      say that a clip carries none.
    roots: folders that may hold the audio.
    notes: lines for the user.
  Raises:
    UserError: if no listed file is there, or a genre is asked for that no clip has.
  """
  notes, skipped, here, missing = list(notes), [], [], 0
  for clip in every:
    found = next(
      (path for root in roots if os.path.isfile(path := os.path.join(root, clip.path))), None
    )
    if found:
      here.append(dataclasses.replace(clip, path=os.path.abspath(found)))
      continue
    missing += 1
    if missing <= MOST_LISTED:
      skipped.append((clip.track, f"there is no file {clip.path}"))
  if not any(clip.labels for clip in every):
    raise UserError(f"{request.flag}: no line of the metadata names a genre that is known")
  if not here:
    tried = " or ".join(str(root) for root in roots)
    example = f", as {every[0].path},"
    raise UserError(
      f"{request.flag}: none of the {len(every)} audio files that the metadata names"
      f"{example} lies in {tried}."
    )
  if missing:
    more = f", the first {MOST_LISTED} of them" if missing > MOST_LISTED else ""
    notes.append(f"{missing} of {len(every)} audio files are missing{more} in skipped.json")
  classes, more = _classes(request, every, here, roots)
  notes += more
  clips, more = _labeled(here, classes, request.task)
  notes += more
  if request.groups:
    groups = read_groups(request.groups)
    clips, more = grouped(clips, groups, request.groups)
    notes += more
  elif alone := sum(not clip.has_group for clip in clips):
    notes.append(f"{alone} of {len(clips)} clips have no group (artist): each counts as its own")
  identity = file_stamps((clip.track, clip.path) for clip in clips)
  return Source(
    name, classes, tuple(clips), AudioFileReader(), identity, tuple(notes), tuple(skipped)
  )


def _classes(
  request: Request, every: list[Clip], here: list[Clip], roots
) -> tuple[tuple[str, ...], list[str]]:
  """The classes that are asked for among those that clips carry, and notes.

  Args:
    request: its `genres`.
    every: all clips that the metadata list.
    here: those whose files are there.
    roots: where they were looked for.
  """
  held = {name for clip in here for name in clip.labels}
  if not held:
    raise UserError(f"{request.flag}: no clip that is there has a label.")
  for label in sorted(held):
    if ";" in label:
      raise UserError(f"{request.flag}: the label {label!r} has a semicolon in its name.")
  gone = sorted({name for clip in every for name in clip.labels} - held)
  never = sorted({name for clip in here for name in clip.unknown} - held - set(gone))
  asked = {name.strip() for name in request.genres.split(",")}
  if wanted := asked.intersection(gone):
    path = next(clip.path for clip in every if min(wanted) in clip.labels)
    raise UserError(
      f"--config.dataset.genres={request.genres}: all files of {min(wanted)} are"
      f" missing: put them, as {path}, in {' or '.join(map(str, roots))}, or leave"
      " it out."
    )
  if wanted := asked.intersection(never):
    raise UserError(
      f"--config.dataset.genres={request.genres}: no clip carries {min(wanted)}, it"
      f" is only ever unknown (?{min(wanted)}): label clips with it or leave it out."
    )
  notes = [f"only ever unknown, and so no class: {', '.join(never)}"] if never else []
  if gone:
    notes.append(f"all of their files are missing, and so no class: {', '.join(gone)}")
  return choose_classes(request.genres, held), notes


def _labeled(here, classes, task: str) -> tuple[list[Clip], list[str]]:
  """The clips that serve, with what they have of the classes, sorted by track; and notes."""
  several, clips = task == "multi_label", []
  for clip in here:
    labels, unknown = (
      tuple(name for name in classes if name in names) for names in (clip.labels, clip.unknown)
    )
    if labels or (several and len(unknown) < len(classes)):
      clips.append(dataclasses.replace(clip, labels=labels, unknown=unknown))
  notes = []
  if none := sum(not clip.labels for clip in clips):
    notes.append(
      f"{none} of {len(clips)} clips carry none of these labels: kept as examples of"
      " what they are not"
    )
  if left_out := len(here) - len(clips):
    which = "are unknown of all" if several else "have none of"
    notes.append(f"{left_out} clips {which} these labels: left out")
  return sorted(clips, key=lambda clip: clip.track), notes
