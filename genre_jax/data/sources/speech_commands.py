"""Source: Speech Commands (Warden, 2018) as `tfds.load('speech_commands')` prepares it.

It has 85,511 train, 10,102 validation and 4,890 test recordings of at most 1 s at 16 kHz, CC BY
4.0. The classes are ten words, '_silence_' and '_unknown_' (all other words). tensorflow-datasets
stores no speaker, so each clip is a group of its own. Its three splits are the published ones,
which have no speaker in common: use `--config.split.name=official`.
"""

import os

from genre_jax.data.source import Clip, Request, Source, choose_classes
from genre_jax.data.sources.tfds_audio import TfdsReader, find_version, read_rows
from genre_jax.errors import UserError

SPLITS = {"train": "train", "validation": "validation", "test": "test"}


def open_speech_commands(request: Request) -> Source:
  """Open a folder that tensorflow-datasets wrote as a source, without a download."""
  folder = os.path.isdir(request.path) and find_version(request.path, "speech_commands")
  if not folder:
    raise UserError(
      f"{request.flag}: the folder contains no speech_commands of tensorflow-datasets; "
      "tfds.load('speech_commands') writes ~/tensorflow_datasets/speech_commands."
    )
  stored = read_rows(folder, ("label",))
  all_clips, splits = [], []
  for split, rows in stored.rows.items():
    splits.append((len(all_clips), split))
    for number, row in enumerate(rows):
      track = f"{split}-{number:06d}"
      label = stored.label_names[row["label"]]
      all_clips.append(
        Clip(
          track,
          f"track:{track}",
          (label,),
          index=len(all_clips),
          has_group=False,
          split=SPLITS.get(split, ""),
        )
      )
  classes = choose_classes(request.genres, (clip.labels[0] for clip in all_clips))
  clips = sorted(
    (clip for clip in all_clips if clip.labels[0] in classes), key=lambda clip: clip.track
  )
  reader = TfdsReader(folder, tuple(splits), stored.sample_rate)
  return Source("speech_commands", classes, tuple(clips), reader, stored.identity)
