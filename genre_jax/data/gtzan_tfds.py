"""GTZAN as `tfds.load('gtzan')` prepared it: int64 audio, label, audio/filename.

Serves the gtzan source. The only source that needs TensorFlow to read.
"""

import dataclasses
import functools
import json
import pathlib

import numpy as np
import soxr

from genre_jax.data import gtzan
from genre_jax.data.audio import UnreadableAudio
from genre_jax.data.clips import Clip, Source, check_sound, file_stamps
from genre_jax.data.log_mel import log_mel
from genre_jax.data.recipe import Recipe
from genre_jax.errors import UserError

FEATURES = ("audio", "label", "audio/filename")


def find_version(path) -> str:
  """The folder of a prepared 'gtzan' at a path or up to two folders below, '' if none."""
  for pattern in (".", "*", "gtzan/*"):
    for info in sorted(pathlib.Path(path).glob(f"{pattern}/dataset_info.json"), reverse=True):
      try:
        if json.loads(info.read_text())["name"] == "gtzan":
          return str(info.parent.absolute())
      except (OSError, ValueError, KeyError, TypeError):
        continue
  return ""


@functools.lru_cache(maxsize=2)
def _builder(folder):
  import tensorflow_datasets as tfds

  return tfds.builder_from_directory(folder)


def open_gtzan_tfds(folder: str, genres: str, groups: str = "") -> Source:
  """The source of a tensorflow-datasets folder."""
  import tensorflow_datasets as tfds

  flag = f"--config.dataset.path={folder}"
  try:
    builder = _builder(folder)
    split = "train" if "train" in builder.info.splits else next(iter(builder.info.splits))
    names = {name for name in FEATURES if name in builder.info.features}
    if len(names) < len(FEATURES):
      raise UserError(
        f"{flag}: lacks the features {', '.join(sorted(set(FEATURES) - names))} of tfds gtzan."
      )
    wanted = tfds.decode.PartialDecoding({"label": True, "audio/filename": True})
    rows = list(tfds.as_numpy(builder.as_dataset(split=split, decoders=wanted)))
    label_names = builder.info.features["label"].names
    rate = builder.info.features["audio"].sample_rate
  except UserError:
    raise
  except Exception as error:  # tfds and TensorFlow raise many kinds
    raise UserError(
      f"{flag}: the tensorflow-datasets folder cannot be read: {str(error)[:300]}"
    ) from error
  clips = []
  for index, row in enumerate(rows):
    name = row["audio/filename"].decode().split("/")[-1]
    match = gtzan.TRACK.match(name)
    if not match or match[1] != label_names[row["label"]]:
      raise UserError(
        f"{flag}: example {index} is {name!r} with label {label_names[row['label']]!r}."
      )
    clips.append(gtzan.gtzan_clip(match[0], index=index))
  files = sorted(path for path in pathlib.Path(folder).iterdir() if path.is_file())
  identity = file_stamps((path.name, path) for path in files)
  reader = TfdsReader(folder, split, float(rate or 22050))
  return gtzan.gtzan_source(clips, genres, groups, reader, identity=identity)


@dataclasses.dataclass(frozen=True)
class TfdsReader:
  """Reads one example by its number."""

  folder: str = dataclasses.field(repr=False)
  split: str
  sample_rate: float

  def log_mel(self, clip: Clip, recipe: Recipe) -> np.ndarray:
    """Log-mel of one example."""
    import tensorflow_datasets as tfds

    one = f"{self.split}[{clip.index}:{clip.index + 1}]"
    try:
      (row,) = tfds.as_numpy(_builder(self.folder).as_dataset(split=one))
    except Exception as error:  # tfds and TensorFlow raise many kinds
      raise UnreadableAudio(
        f"cannot be read from the tensorflow-datasets folder: {str(error)[:200]}"
      ) from error
    # 16-bit values, stored as int64.
    audio = row["audio"].astype(np.float32).reshape(-1) / 32768.0
    if not len(audio):
      raise UnreadableAudio("holds no audio (0 samples)")
    check_sound(float(np.max(np.abs(audio))))
    if self.sample_rate != recipe.sample_rate:
      audio = soxr.resample(audio, self.sample_rate, recipe.sample_rate)
    return log_mel(audio, recipe)
