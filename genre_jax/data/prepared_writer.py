"""Write a prepared set: shards of log-mel in tensorflow-datasets format, and their tables.

Each shard is complete when its JSON file exists, so an interrupted run resumes at the next shard.
"""

import contextlib
import csv
import json
import os
import pathlib
import shutil

import numpy as np
from tqdm import tqdm

from genre_jax.data.audio import UnreadableAudio
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.silence import without_silence
from genre_jax.data.source import Clip, Reader, Source, label_vectors
from genre_jax.data.workers import in_order
from genre_jax.errors import UserError
from genre_jax.files import write_whole

FORMAT_VERSION = "1.3.0"  # part of a set's hash: raise it when the stored content changes
TFDS_SPLIT = "clips"  # the one split of a set in the sense of tensorflow-datasets
CLIPS_PER_SHARD = 32


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


def _one_clip(reader: Reader, frontend: FrontendConfig, clip: Clip) -> np.ndarray | str:
  """Return the log-mel of a clip's sound, or why it cannot be used; runs in a worker."""
  try:
    return without_silence(reader.log_mel(clip, frontend), frontend)
  except UnreadableAudio as error:
    return str(error)
  except Exception as error:  # a file that fails to decode does not stop the others
    return f"{type(error).__name__}: {error}"


def write_prepared(
  source: Source,
  frontend: FrontendConfig,
  task: str,
  partial: pathlib.Path,
  final: pathlib.Path,
  workers: int,
) -> None:
  """Write the missing shards and the metadata, then rename the folder.

  Args:
    source: Clips and their reader.
    frontend: Front end.
    task: 'single_label' or 'multi_label', stored with the set.
    partial: Existing folder, which may contain finished shards.
    final: Name of the folder when it is complete.
    workers: Number of processes that decode.

  Raises:
    UserError: If the source has no tracks, or none can be read.
  """
  import tensorflow as tf
  import tensorflow_datasets as tfds

  clips = list(source.clips)
  if not clips:
    raise UserError(f"the source {source.name} has no tracks to prepare")
  info = features(len(source.classes), frontend.n_mels)
  num_shards = -(-len(clips) // CLIPS_PER_SHARD)
  shards = [clips[i * CLIPS_PER_SHARD : (i + 1) * CLIPS_PER_SHARD] for i in range(num_shards)]

  def path_of(shard: int, suffix: str = "") -> pathlib.Path:
    name = f"genre_jax-{TFDS_SPLIT}.tfrecord-{shard:05d}-of-{num_shards:05d}"
    return partial / (name + suffix)

  missing = [i for i in range(num_shards) if not path_of(i, ".json").exists()]
  todo = [clip for i in missing for clip in shards[i]]
  if len(missing) < num_shards:
    print(f"resumes: {len(clips) - len(todo)} of {len(clips)} tracks are prepared already")
  log_mels = in_order(
    _one_clip, ((source.reader, frontend, clip) for clip in todo), workers if len(todo) > 8 else 1
  )
  with (
    tqdm(
      total=len(clips),
      initial=len(clips) - len(todo),
      desc="preparing",
      unit="track",
      disable=None,
      leave=False,
    ) as bar,
    contextlib.closing(log_mels),
  ):
    for shard in missing:
      rows, skipped = [], []
      with tf.io.TFRecordWriter(str(path_of(shard))) as writer:
        for clip in shards[shard]:
          log_mel = next(log_mels)
          bar.update()
          if isinstance(log_mel, str):
            skipped.append({"clip": clip.track, "reason": log_mel})
            continue
          labels, label_mask = label_vectors(clip, source.classes)
          writer.write(
            info.serialize_example(
              {
                "log_mel": log_mel,
                "labels": labels,
                "label_mask": label_mask,
                "track": clip.track,
                "group": clip.group,
              }
            )
          )
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
      size = path_of(shard).stat().st_size
      done = path_of(shard, ".json")
      write_whole(done, json.dumps({"rows": rows, "skipped": skipped, "bytes": size}))

  done = [json.loads(path_of(i, ".json").read_text()) for i in range(num_shards)]
  skipped = [{"clip": name, "reason": reason} for name, reason in source.skipped]
  skipped += [skip for shard in done for skip in shard["skipped"]]
  rows = [row for shard in done for row in shard["rows"]]
  if not rows:
    shutil.rmtree(partial)
    raise UserError(
      f"none of the {len(clips)} tracks could be read; the first: "
      f"{skipped[0]['clip']}: {skipped[0]['reason']}"
    )
  template = tfds.core.ShardedFileTemplate(
    data_dir=partial,
    template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    dataset_name="genre_jax",
    split=TFDS_SPLIT,
    filetype_suffix="tfrecord",
  )
  split_info = tfds.core.SplitInfo(
    name=TFDS_SPLIT,
    shard_lengths=[len(shard["rows"]) for shard in done],
    num_bytes=sum(shard["bytes"] for shard in done),
    filename_template=template,
  )
  tfds.folder_dataset.write_metadata(
    data_dir=partial,
    features=info,
    split_infos=[split_info],
    version=FORMAT_VERSION,
    filename_template=template,
    check_data=False,
    description=f"Log-mel spectrograms of {source.name}, prepared by genre_jax.",
  )
  with open(partial / "clips.csv", "w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(["track", "group", "labels", "has_group", "num_frames", "split", "unknown"])
    writer.writerows(rows)
  write_whole(partial / "skipped.json", json.dumps(skipped, indent=1))
  for i in range(num_shards):
    path_of(i, ".json").unlink()
  write_whole(
    partial / "about.json",
    json.dumps(
      {
        "frontend": frontend.to_dict(),
        "classes": source.classes,
        "task": task,
        "source": source.name,
        "skipped": skipped,
        "bytes": {path.name: path.stat().st_size for path in sorted(partial.iterdir())},
      },
      indent=1,
    ),
  )
  os.rename(partial, final)
  print(f"prepared {len(rows)} tracks in {final}, skipped {len(skipped)}")
  for skip in skipped:
    print(f"  skipped {skip['clip']}: {skip['reason']}")
