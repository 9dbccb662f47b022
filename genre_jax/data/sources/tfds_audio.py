"""Find and read audio datasets that tensorflow-datasets prepared.

The sources gtzan and speech_commands use it; only they need TensorFlow to read audio.
"""

import dataclasses
import functools
import json
import pathlib

import numpy as np
import soxr

from genre_jax.data.audio import UnreadableAudio
from genre_jax.data.files import file_stamps
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import log_mel
from genre_jax.data.source import Clip, check_not_silent
from genre_jax.errors import UserError


def find_version(path, name: str) -> str:
  """Return the folder of the dataset `name` at a path or up to two levels below, '' if none."""
  for pattern in (".", "*", f"{name}/*"):
    for info in sorted(pathlib.Path(path).glob(f"{pattern}/dataset_info.json"), reverse=True):
      try:
        if json.loads(info.read_text())["name"] == name:
          return str(info.parent.absolute())
      except (OSError, ValueError, KeyError, TypeError):
        continue
  return ""


@functools.lru_cache(maxsize=2)
def _builder(folder):
  """Return the builder of a folder, cached."""
  import tensorflow_datasets as tfds

  return tfds.builder_from_directory(folder)


@dataclasses.dataclass(frozen=True)
class TfdsRows:
  """Content of a tensorflow-datasets folder except its audio.

  Attributes:
    rows: {split: [{feature: value}, ...]}, in stored order.
    label_names: Names of the feature 'label'.
    sample_rate: Hz.
    identity: Value for `Source.identity`.
  """

  rows: dict[str, list[dict]]
  label_names: list[str]
  sample_rate: float
  identity: str


def read_rows(folder: str, features: tuple[str, ...]) -> TfdsRows:
  """Read some features of every row.

  Args:
    folder: Folder of the dataset, as `find_version` returns it.
    features: Names of features, 'label' among them. The feature 'audio' must exist too.

  Raises:
    UserError: If the folder cannot be read or lacks a feature.
  """
  import tensorflow_datasets as tfds

  flag = f"--config.dataset.path={folder}"
  try:
    builder = _builder(folder)
    missing = {"audio", *features} - set(builder.info.features)
    if missing:
      raise UserError(
        f"{flag}: lacks the features {', '.join(sorted(missing))} of tfds {builder.name}."
      )
    wanted = tfds.decode.PartialDecoding({name: True for name in features})
    rows = {
      split: list(tfds.as_numpy(builder.as_dataset(split=split, decoders=wanted)))
      for split in builder.info.splits
    }
    label_names = builder.info.features["label"].names
    rate = builder.info.features["audio"].sample_rate
  except UserError:
    raise
  except Exception as error:  # tfds and TensorFlow raise many kinds
    raise UserError(
      f"{flag}: the tensorflow-datasets folder cannot be read: {str(error)[:300]}"
    ) from error
  files = sorted(path for path in pathlib.Path(folder).iterdir() if path.is_file())
  identity = file_stamps((path.name, path) for path in files)
  return TfdsRows(rows, label_names, float(rate or 22050), identity)


@dataclasses.dataclass(frozen=True)
class TfdsReader:
  """Reader of rows by their index.

  Attributes:
    folder: Folder of the dataset.
    splits: (first clip index, split), ascending: indices continue from split to split.
    sample_rate: Hz.
  """

  folder: str = dataclasses.field(repr=False)
  splits: tuple[tuple[int, str], ...]
  sample_rate: float

  def log_mel(self, clip: Clip, frontend: FrontendConfig) -> np.ndarray:
    """Return the log-mel of one row."""
    import tensorflow_datasets as tfds

    first, split = max(pair for pair in self.splits if pair[0] <= clip.index)
    one = f"{split}[{clip.index - first}:{clip.index - first + 1}]"
    try:
      (row,) = tfds.as_numpy(_builder(self.folder).as_dataset(split=one))
    except Exception as error:  # tfds and TensorFlow raise many kinds
      raise UnreadableAudio(
        f"cannot be read from the tensorflow-datasets folder: {str(error)[:200]}"
      ) from error
    # 16-bit values, stored as another type.
    audio = row["audio"].astype(np.float32).reshape(-1) / 32768.0
    if not len(audio):
      raise UnreadableAudio("contains no audio (0 samples)")
    check_not_silent(float(np.max(np.abs(audio))))
    if self.sample_rate != frontend.sample_rate:
      audio = soxr.resample(audio, self.sample_rate, frontend.sample_rate)
    return log_mel(audio, frontend)
