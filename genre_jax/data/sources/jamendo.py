"""Source: MTG-Jamendo (Bogdanov and others, 2019), genre tags of 55,215 full-length MP3 tracks.

PATH contains `autotagging_genre.tsv` of github.com/MTG/mtg-jamendo-dataset, or the whole checkout,
and the audio as `00/7400.mp3` or `00/7400.low.mp3`, in PATH or PATH/audio. The table is
tab-separated with a line of column names; each tag of a track, `genre---NAME`, is in a column of
its own. Groups are artists. `config.dataset.subset` is one of the five official splits, 'split-0'
(default) to 'split-4'. Each has every artist in one split only, and omits tags that are not in all
three.
"""

import dataclasses
import os
import re

from genre_jax.data.source import Clip, Request, Source
from genre_jax.data.sources.metadata import find_table, metadata_source
from genre_jax.data.tables import check_first, columns_of, read_rows
from genre_jax.errors import UserError

TABLES = ("autotagging_genre.tsv", "data/autotagging_genre.tsv")
# Patterns of the cells of a row; a missing cell shifts those after it and is found by them.
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
  """Open a folder with the table and the audio as a source."""
  name = request.subset or SUBSETS[0]
  if name not in SUBSETS:
    raise UserError(f"--config.dataset.subset={name}: jamendo has {', '.join(SUBSETS)}.")
  table = find_table(request, TABLES)
  (listed, _), notes = _read(table), []
  folder = table.parent / "splits" / name
  splits, official = {}, set()
  for suffix, split in SPLITS.items():
    path = folder / f"{table.stem}-{suffix}.tsv"
    if not path.is_file():
      notes.append(f"there is no {path}: no official split")
      splits, official = {}, set()
      break
    in_split, lines = _read(path)
    if twice := next((track for track in in_split if track in splits), None):
      raise UserError(
        f"{path}, line {lines[twice]}: {twice} is in the {splits[twice]} split of"
        f" {name} already; remove it from one of the files."
      )
    splits |= dict.fromkeys(in_split, split)
    official.update(tag for clip in in_split.values() for tag in clip.labels)
  clips = [clip for clip in listed.values() if clip.labels]
  if untagged := len(listed) - len(clips):
    notes.append(f"{untagged} tracks of {table} have no tag: left out")
  if splits:
    notes += _unlisted(splits, listed, table, folder)
    left_out = sorted({tag for clip in clips for tag in clip.labels} - official)
    if left_out:
      notes.append(
        f"{len(left_out)} tags are not in all three splits of {name}: {', '.join(left_out)}"
      )
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


def _unlisted(splits, listed, table, folder) -> list[str]:
  """Note tracks of the splits that the table lacks; raise UserError if it has none of them."""
  unlisted = [track for track in splits if track not in listed]
  if len(unlisted) == len(splits):
    raise UserError(
      f"{folder}: none of its {len(splits)} tracks, such as {unlisted[0]}, is in {table};"
      " give the table and the split files of one version of the dataset."
    )
  return (
    [
      f"{len(unlisted)} of {len(splits)} tracks of {folder}, such as {unlisted[0]}, are not in"
      f" {table}: ignored"
    ]
    if unlisted
    else []
  )


def _read(path) -> tuple[dict[str, Clip], dict[str, int]]:
  """Read a table of the dataset: ({track: clip}, {track: line})."""
  rows = read_rows(path, COLUMNS)
  _, header = next(rows, (0, []))
  places = dict(zip(COLUMNS, columns_of(header, COLUMNS, path), strict=True))
  track, artist, file, tags = (places[key] for key in ("TRACK_ID", "ARTIST_ID", "PATH", "TAGS"))
  clips, lines = {}, {}
  for line, row in rows:
    for key, form in COLUMNS.items():
      cell = row[places[key]] if places[key] < len(row) else ""
      if key != "TAGS" and not re.fullmatch(form, cell):
        raise UserError(
          f"{path}, line {line}: {key} is {cell!r}; a cell of the line may be missing."
          " Give every column, with a tab between them."
        )
    if len(row) <= tags:
      raise UserError(f"{path}, line {line}: {len(row)} cells; there must be a tag after DURATION.")
    for tag in filter(None, row[tags:]):
      if not tag.removeprefix(TAG) or not tag.startswith(TAG):
        raise UserError(
          f"{path}, line {line}: {tag} is not a genre, which begins with {TAG}; give"
          f" {TABLES[0]}, or remove the tag."
        )
    check_first(lines, row[track], path, line, "put all its tags in one line")
    names = tuple(dict.fromkeys(tag.removeprefix(TAG) for tag in row[tags:] if tag))
    clips[row[track]] = Clip(row[track], row[artist], names, row[file])
  return clips, lines


def _as_on_disk(clips, roots):
  """Return clips with the paths of the small download, 00/7400.low.mp3, if only these exist."""
  result = []
  for clip in clips:
    low = f"{os.path.splitext(clip.path)[0]}.low.mp3"
    if not any(os.path.isfile(root / clip.path) for root in roots) and any(
      os.path.isfile(root / low) for root in roots
    ):
      clip = dataclasses.replace(clip, path=low)
    result.append(clip)
  return result
