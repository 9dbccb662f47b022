"""Source: MagnaTagATune (Law and others, 2009), 25,863 clips of 29 s with 188 tags from a game.

PATH contains `annotations_final.csv`, tab-separated with quoted cells: clip_id, a column of 0 and 1
for each tag, mp3_path. The audio is `f/artist-album-00-title-30-59.mp3`, in PATH or in PATH/mp3.
The usual split goes by folder: 0 to b train, c validation, d to f test; artists are in several
splits. Groups are artists, the first part of the file names. `config.dataset.subset` is 'top50' for
the fifty most frequent tags, which most papers use, or '' for all. For multi_label, a clip with
none of them is kept as a row of zeros (some papers leave such clips out). Three files are empty.
"""

import dataclasses
from collections import Counter

from genre_jax.data.source import Clip, Request, Source
from genre_jax.data.sources.metadata import find_table, metadata_source
from genre_jax.data.tables import check_cells, check_first, columns_of, read_rows
from genre_jax.errors import UserError

SPLITS = {
  **dict.fromkeys("0123456789ab", "train"),
  "c": "validation",
  **dict.fromkeys("def", "test"),
}
COLUMNS = ("clip_id", "mp3_path")
TOP = 50


def open_magnatagatune(request: Request) -> Source:
  """Open a folder with the annotations and the audio as a source."""
  if request.subset not in ("", f"top{TOP}"):
    raise UserError(
      f"--config.dataset.subset={request.subset}: magnatagatune has top{TOP}; give"
      " nothing for all tags."
    )
  table = find_table(request, ("annotations_final.csv",))
  rows = read_rows(table, COLUMNS)
  _, header = next(rows, (0, []))
  columns_of(header, COLUMNS, table)
  tags = [name for name in header if name not in COLUMNS]
  all_clips, paths = [], {}
  for line, row in rows:
    check_cells(row, header, table, line)
    cells = dict(zip(header, row, strict=True))
    if wrong := next((tag for tag in tags if cells[tag] not in ("0", "1")), None):
      raise UserError(f"{table}, line {line}: {wrong} is {cells[wrong]!r}, not 0 or 1.")
    labels = tuple(tag for tag in tags if cells[tag] == "1")
    path = cells["mp3_path"]
    check_first(paths, path, table, line, "keep one of the lines")
    folder, _, name = path.rpartition("/")
    artist = name.split("-")[0]
    all_clips.append(Clip(path, f"artist-{artist}", labels, path, split=SPLITS.get(folder, "")))
  if request.subset:
    counts = Counter(label for clip in all_clips for label in clip.labels)
    top = {label for label, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:TOP]}
    all_clips = [
      dataclasses.replace(clip, labels=tuple(set(clip.labels) & top)) for clip in all_clips
    ]
  return metadata_source("magnatagatune", request, all_clips, (table.parent, table.parent / "mp3"))
