"""GTZAN as `tfds.load('gtzan')` prepares it: int64 audio, label, audio/filename."""

from genre_jax.data.source import Source
from genre_jax.data.sources.gtzan.tracks import TRACK, gtzan_clip, gtzan_source
from genre_jax.data.sources.tfds_audio import TfdsReader, read_rows
from genre_jax.errors import UserError


def open_folder(folder: str, genres: str, groups: str = "") -> Source:
  """Open a tensorflow-datasets folder as a source.

  Args:
    folder: Folder of the dataset, as `tfds_audio.find_version` returns it.
    genres: See `Request.genres`.
    groups: See `Request.groups`.

  Raises:
    UserError: If the folder cannot be read or is not GTZAN.
  """
  stored = read_rows(folder, ("label", "audio/filename"))
  split = "train" if "train" in stored.rows else next(iter(stored.rows))
  clips = []
  for index, row in enumerate(stored.rows[split]):
    name = row["audio/filename"].decode().split("/")[-1]
    label = stored.label_names[row["label"]]
    match = TRACK.match(name)
    if not match or match[1] != label:
      raise UserError(
        f"--config.dataset.path={folder}: example {index} is {name!r} with label {label!r},"
        " which is not GTZAN; give another folder."
      )
    clips.append(gtzan_clip(match[0], index=index))
  reader = TfdsReader(folder, ((0, split),), stored.sample_rate)
  return gtzan_source(clips, genres, groups, reader, identity=stored.identity)
