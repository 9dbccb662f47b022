"""Write the shards of a prepared set: log-mel of some clips in tensorflow-datasets format."""

import dataclasses
import json
import os
import pathlib
import socket
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from genre_jax.data.audio import UnreadableAudio
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.silence import without_silence
from genre_jax.data.source import Clip, Reader, label_vectors
from genre_jax.files import move_into_place, write_whole

TFDS_SPLIT = "clips"  # the one split of a set in the sense of tensorflow-datasets
CLIPS_PER_SHARD = 32


@dataclasses.dataclass(frozen=True)
class ShardWork:
  """What all shards of a set share.

  Attributes:
    folder: Existing folder for the shards.
    num_shards: Number of shards.
    classes: Class names, in the order of the label vector.
    reader: Reader of the clips.
    frontend: Front end.
  """

  folder: pathlib.Path
  num_shards: int
  classes: tuple[str, ...]
  reader: Reader
  frontend: FrontendConfig

  def path(self, shard: int, suffix: str = "") -> pathlib.Path:
    """Return the path of a shard, or with the suffix '.json' that of its table."""
    name = f"genre_jax-{TFDS_SPLIT}.tfrecord-{shard:05d}-of-{self.num_shards:05d}"
    return self.folder / (name + suffix)


def features(num_classes: int, n_mels: int):
  """Return the tensorflow-datasets features of a prepared set."""
  import tensorflow_datasets as tfds  # here: predicting must not wait for TensorFlow

  return tfds.features.FeaturesDict(
    {
      # As bytes: a list of floats takes seventy times as long to write (7 ms for 30 s of audio).
      "log_mel": tfds.features.Tensor(
        shape=(None, n_mels), dtype=np.float32, encoding=tfds.features.Encoding.BYTES
      ),
      "labels": tfds.features.Tensor(shape=(num_classes,), dtype=np.float32),
      "label_mask": tfds.features.Tensor(shape=(num_classes,), dtype=np.float32),
      "track": tfds.features.Text(),
      "group": tfds.features.Text(),
    }
  )


def log_mel_of(reader: Reader, frontend: FrontendConfig, clip: Clip) -> np.ndarray | str:
  """Return the log-mel of a clip's sound, or why it cannot be used; runs in a worker."""
  try:
    return without_silence(reader.log_mel(clip, frontend), frontend)
  except UnreadableAudio as error:
    return str(error)
  except Exception as error:  # a file that fails to decode does not stop the others
    return f"{type(error).__name__}: {error}"


def write_shard(
  work: ShardWork, number: int, clips: Sequence[Clip], log_mels: Iterable[np.ndarray | str]
) -> None:
  """Write a shard, then its table as JSON, by which it counts as finished.

  Args:
    work: What all shards share.
    number: Number of the shard.
    clips: Its clips.
    log_mels: What `log_mel_of` returns for each.

  Raises:
    OSError, tf.errors.OpError: If the folder cannot be written.
  """
  import tensorflow as tf

  info = features(len(work.classes), work.frontend.n_mels)
  path = work.path(number)
  # Another machine may write the same shard if it was taken for dead.
  temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
  rows: list[list[Any]] = []
  skipped = []
  try:
    with tf.io.TFRecordWriter(str(temporary)) as writer:
      for clip, log_mel in zip(clips, log_mels, strict=True):
        if isinstance(log_mel, str):
          skipped.append({"clip": clip.track, "reason": log_mel})
          continue
        labels, label_mask = label_vectors(clip, work.classes)
        example = {
          "log_mel": log_mel,
          "labels": labels,
          "label_mask": label_mask,
          "track": clip.track,
          "group": clip.group,
        }
        writer.write(_in_fixed_order(info.serialize_example(example)))
        rows.append(
          [
            clip.track,
            clip.group,
            ";".join(clip.labels),
            int(clip.has_group),
            len(log_mel),
            clip.split,
            ";".join(clip.unknown),
          ]
        )
    size = temporary.stat().st_size
    move_into_place(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)
  table = {"rows": rows, "skipped": skipped, "bytes": size}
  write_whole(work.path(number, ".json"), json.dumps(table))


def _in_fixed_order(example: bytes) -> bytes:
  """Return a serialized example with its features in an order that does not vary by process."""
  import tensorflow as tf

  return tf.train.Example.FromString(example).SerializeToString(deterministic=True)
