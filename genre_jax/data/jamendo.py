"""MTG-Jamendo (Bogdanov and others, 2019): the genre tags of 55,215 tracks, full length, as MP3.

A source. PATH holds `autotagging_genre.tsv` of github.com/MTG/mtg-jamendo-dataset, or the whole
checkout, and the audio as `00/7400.mp3`, in PATH or PATH/audio; `.low.mp3` is taken as well. The
file is tab-separated with a line of column names; a track's tags are as many columns as it has.
Groups are artists. `config.dataset.subset` is one of the five official splits, 'split-0' (default)
to 'split-4', each of which keeps artists apart and leaves out the tags that are not on all sides.
"""

import dataclasses
import os

from genre_jax.data.clips import Clip, Request, Source
from genre_jax.data.metadata import columns_of, find_table, metadata_source, read_rows
from genre_jax.errors import UserError

TABLES = ("autotagging_genre.tsv", "data/autotagging_genre.tsv")
COLUMNS = ("TRACK_ID", "ARTIST_ID", "PATH", "TAGS")
SPLITS = tuple(f"split-{number}" for number in range(5))
SIDES = {"train": "train", "validation": "valid", "test": "test"}


def open_jamendo(request: Request) -> Source:
  """The source of a folder with the metadata and the audio."""
  name = request.subset or SPLITS[0]
  if name not in SPLITS:
    raise UserError(f"--config.dataset.subset={name}: jamendo has {', '.join(SPLITS)}.")
  table = find_table(request, TABLES)
  every, notes = _read(table), []
  folder = table.parent / "splits" / name
  sides, official = {}, set()
  for word, side in SIDES.items():
    path = folder / f"{table.stem}-{word}.tsv"
    if not path.is_file():
      notes.append(f"there is no {path}: no official split")
      sides, official = {}, set()
      break
    for clip in _read(path).values():
      sides[clip.track] = side
      official.update(clip.labels)
  clips = list(every.values())
  if sides:
    left_out = sorted({tag for clip in clips for tag in clip.labels} - official)
    if left_out:
      notes.append(f"{len(left_out)} tags are not on all sides of {name}: {', '.join(left_out)}")
    clips = [dataclasses.replace(clip, side=sides.get(clip.track, ""), labels=tuple(
      tag for tag in clip.labels if tag in official)) for clip in clips]
  root = table.parent.parent if table.parent.name == "data" else table.parent
  roots = [root, root / "audio", root / "audio-low", root / "raw_30s" / "audio"]
  return metadata_source("jamendo", request, _as_on_disk(clips, roots), roots, notes)


def _read(path) -> dict[str, Clip]:
  """{track: clip} of one of the dataset's tables."""
  rows = read_rows(path, "\t")
  _, header = next(rows, (0, []))
  track, artist, file, tags = columns_of(header, COLUMNS, path)
  clips = {}
  for line, row in rows:
    if len(row) <= tags:
      raise UserError(f"{path}, line {line}: {len(row)} cells; there must be a tag after DURATION.")
    names = tuple(dict.fromkeys(tag.removeprefix("genre---") for tag in row[tags:] if tag))
    clips[row[track]] = Clip(row[track], row[artist], names, row[file])
  return clips


def _as_on_disk(clips, roots):
  """Paths as the small download has them, 00/7400.low.mp3, where the original is absent."""
  result = []
  for clip in clips:
    low = f"{os.path.splitext(clip.path)[0]}.low.mp3"
    if not any(os.path.isfile(root / clip.path) for root in roots) and any(
        os.path.isfile(root / low) for root in roots):
      clip = dataclasses.replace(clip, path=low)
    result.append(clip)
  return result
