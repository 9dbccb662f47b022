"""MTG-Jamendo (Bogdanov and others, 2019): the genre tags of 55,215 tracks, full length, as MP3.

A source. PATH holds `autotagging_genre.tsv` of github.com/MTG/mtg-jamendo-dataset, or the whole
checkout, and the audio as `00/7400.mp3`, in PATH or PATH/audio; `.low.mp3` is taken as well. The
file is tab-separated with a line of column names; a track's tags, each `genre---NAME`, are as many
columns as it has. Groups are artists. `config.dataset.subset` is one of the five official splits,
'split-0' (default) to 'split-4', each of which keeps artists apart and leaves out the tags that are
not on all sides.
"""

import dataclasses
import os
import re

from genre_jax.data.source import Clip, Request, Source
from genre_jax.data.sources.metadata import (
  check_first,
  columns_of,
  find_table,
  metadata_source,
  read_rows,
)
from genre_jax.errors import UserError

TABLES = ("autotagging_genre.tsv", "data/autotagging_genre.tsv")
# What the cells of a row look like; one that is missing moves those after it under other names.
COLUMNS = {
  "TRACK_ID": r"track_\d+",
  "ARTIST_ID": r"artist_\d+",
  "ALBUM_ID": r"album_\d+",
  "PATH": r".+\.mp3",
  "DURATION": r"\d+(\.\d*)?",
  "TAGS": "",
}
TAG = "genre---"
SUBSETS = tuple(f"split-{number}" for number in range(5))
SPLITS = {"train": "train", "validation": "validation", "test": "test"}


def open_jamendo(request: Request) -> Source:
  """The source of a folder with the metadata and the audio."""
  name = request.subset or SUBSETS[0]
  if name not in SUBSETS:
    raise UserError(f"--config.dataset.subset={name}: jamendo has {', '.join(SUBSETS)}.")
  table = find_table(request, TABLES)
  (every, _), notes = _read(table), []
  folder = table.parent / "splits" / name
  splits, official = {}, set()
  for word, split in SPLITS.items():
    path = folder / f"{table.stem}-{word}.tsv"
    if not path.is_file():
      notes.append(f"there is no {path}: no official split")
      splits, official = {}, set()
      break
    here, lines = _read(path)
    if twice := next((track for track in here if track in splits), None):
      raise UserError(
        f"{path}, line {lines[twice]}: {twice} is on the {splits[twice]} side of"
        f" {name} already; take it out of one of the files."
      )
    splits |= dict.fromkeys(here, split)
    official.update(tag for clip in here.values() for tag in clip.labels)
  clips = [clip for clip in every.values() if clip.labels]
  if untagged := len(every) - len(clips):
    notes.append(f"{untagged} tracks of {table} have no tag: left out")
  if splits:
    notes += _strangers(splits, every, table, folder)
    left_out = sorted({tag for clip in clips for tag in clip.labels} - official)
    if left_out:
      notes.append(f"{len(left_out)} tags are not on all sides of {name}: {', '.join(left_out)}")
    clips = [
      dataclasses.replace(
        clip,
        split=splits.get(clip.track, ""),
        labels=tuple(tag for tag in clip.labels if tag in official),
      )
      for clip in clips
    ]
  root = table.parent.parent if table.parent.name == "data" else table.parent
  roots = [root, root / "audio", root / "audio-low", root / "raw_30s" / "audio"]
  return metadata_source("jamendo", request, _as_on_disk(clips, roots), roots, notes)


def _strangers(splits, every, table, folder) -> list[str]:
  """A note of the split's tracks that the table does not list; UserError if it lists none."""
  strangers = [track for track in splits if track not in every]
  if len(strangers) == len(splits):
    raise UserError(
      f"{folder}: none of its {len(splits)} tracks, as {strangers[0]}, is in {table};"
      " give the table and the split files of one version of the dataset."
    )
  return (
    [
      f"{len(strangers)} of {len(splits)} tracks of {folder}, as {strangers[0]}, are not in"
      f" {table}: ignored"
    ]
    if strangers
    else []
  )


def _read(path) -> tuple[dict[str, Clip], dict[str, int]]:
  """{track: clip} and {track: line} of one of the dataset's tables."""
  rows = read_rows(path, "\t")
  _, header = next(rows, (0, []))
  places = dict(zip(COLUMNS, columns_of(header, COLUMNS, path), strict=True))
  track, artist, file, tags = (places[key] for key in ("TRACK_ID", "ARTIST_ID", "PATH", "TAGS"))
  clips, lines = {}, {}
  for line, row in rows:
    for key, form in COLUMNS.items():
      cell = row[places[key]] if places[key] < len(row) else ""
      if key != "TAGS" and not re.fullmatch(form, cell):
        raise UserError(
          f"{path}, line {line}: {key} is {cell!r}; is a cell of the line missing?"
          " Give every column, with a tab between them."
        )
    if len(row) <= tags:
      raise UserError(f"{path}, line {line}: {len(row)} cells; there must be a tag after DURATION.")
    for tag in filter(None, row[tags:]):
      if not tag.removeprefix(TAG) or not tag.startswith(TAG):
        raise UserError(
          f"{path}, line {line}: {tag} is no genre, those begin with {TAG}; give"
          f" {TABLES[0]}, or take the tag out."
        )
    check_first(lines, row[track], path, line, "put all its tags in one line")
    names = tuple(dict.fromkeys(tag.removeprefix(TAG) for tag in row[tags:] if tag))
    clips[row[track]] = Clip(row[track], row[artist], names, row[file])
  return clips, lines


def _as_on_disk(clips, roots):
  """Paths as the small download has them, 00/7400.low.mp3, where the original is absent."""
  result = []
  for clip in clips:
    low = f"{os.path.splitext(clip.path)[0]}.low.mp3"
    if not any(os.path.isfile(root / clip.path) for root in roots) and any(
      os.path.isfile(root / low) for root in roots
    ):
      clip = dataclasses.replace(clip, path=low)
    result.append(clip)
  return result
