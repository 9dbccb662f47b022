"""GTZAN as `tfds.load('gtzan')` prepared it: int64 audio, label, audio/filename.

Serves the gtzan source.
"""

from genre_jax.data.source import Source
from genre_jax.data.sources.gtzan.tracks import TRACK, gtzan_clip, gtzan_source
from genre_jax.data.sources.tfds_audio import TfdsReader, read_rows
from genre_jax.errors import UserError


def open_folder(folder: str, genres: str, groups: str = "") -> Source:
  """The source of a tensorflow-datasets folder."""
  found = read_rows(folder, ("label", "audio/filename"))
  split = "train" if "train" in found.rows else next(iter(found.rows))
  clips = []
  for index, row in enumerate(found.rows[split]):
    name = row["audio/filename"].decode().split("/")[-1]
    label = found.label_names[row["label"]]
    match = TRACK.match(name)
    if not match or match[1] != label:
      raise UserError(
        f"--config.dataset.path={folder}: example {index} is {name!r} with label {label!r}."
      )
    clips.append(gtzan_clip(match[0], index=index))
  reader = TfdsReader(folder, ((0, split),), found.sample_rate)
  return gtzan_source(clips, genres, groups, reader, identity=found.identity)
