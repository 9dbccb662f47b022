"""Speech Commands (Warden, 2018) as `tfds.load('speech_commands')` prepared it.

A source: 85,511 train, 10,102 valid and 4,890 test recordings of at most 1 s, 16 kHz, of ten words,
'_silence_' and '_unknown_' (all other words), CC BY 4.0. tensorflow-datasets keeps no speaker, so
each clip is a group of its own; its three splits are the published ones, which keep speakers apart:
use `--config.split.name=official`.
"""

import os

from genre_jax.data.source import Clip, Request, Source, choose_classes
from genre_jax.data.sources.tfds_audio import TfdsReader, find_version, read_rows
from genre_jax.errors import UserError

SPLITS = {"train": "train", "validation": "validation", "test": "test"}


def open_speech_commands(request: Request) -> Source:
  """The source of a folder that tensorflow-datasets wrote; nothing is downloaded."""
  folder = os.path.isdir(request.path) and find_version(request.path, "speech_commands")
  if not folder:
    raise UserError(
      f"{request.flag}: no speech_commands that tensorflow-datasets prepared lies there; "
      "tfds.load('speech_commands') writes ~/tensorflow_datasets/speech_commands."
    )
  found = read_rows(folder, ("label",))
  every, splits = [], []
  for assignment, rows in found.rows.items():
    splits.append((len(every), assignment))
    for number, row in enumerate(rows):
      track = f"{assignment}-{number:06d}"
      label = found.label_names[row["label"]]
      every.append(
        Clip(
          track,
          f"track:{track}",
          (label,),
          index=len(every),
          has_group=False,
          split=SPLITS.get(assignment, ""),
        )
      )
  classes = choose_classes(request.genres, (clip.labels[0] for clip in every))
  clips = sorted((clip for clip in every if clip.labels[0] in classes), key=lambda clip: clip.track)
  reader = TfdsReader(folder, tuple(splits), found.sample_rate)
  return Source("speech_commands", classes, tuple(clips), reader, found.identity)
