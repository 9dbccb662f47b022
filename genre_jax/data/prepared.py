"""The on-disk log-mel dataset: every clip's whole spectrogram, once, in tensorflow-datasets format.

Stands between the sources and the input pipeline. A prepared set is a folder that
`tfds.builder_from_directory` reads anywhere; its name carries a hash of all that determines its
content, so a set is reused exactly when it is the same. It is written shard by shard in
`NAME.partial`, goes on after an interruption, and gets its name only when it is whole.
"""

import contextlib
import csv
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from genre_jax.data.audio import UnreadableAudio
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.source import Clip, Reader, Source
from genre_jax.data.workers import in_order
from genre_jax.errors import UserError
from genre_jax.files import write_whole

FORMAT_VERSION = "1.2.0"  # part of a set's hash: raise it when what is stored changes
SPLIT = "clips"  # the one split, in tensorflow-datasets' sense, of a set
CLIPS_PER_SHARD = 32


@dataclasses.dataclass(frozen=True)
class Prepared:
  """A prepared set on disk.

  Attributes:
    path: the tensorflow-datasets folder.
    recipe: how the sound was turned into log-mel.
    classes: genre names, in the order of the label vector.
    task: what the labels mean, 'single_label' or 'multi_label'.
    source: name of the source.
    clips: the clips that are in it, in stored order.
    num_frames: frames of each clip.
    skipped: (track, reason) of those that are not.
  """

  path: pathlib.Path
  frontend: FrontendConfig
  classes: tuple[str, ...]
  task: str
  source: str
  clips: tuple[Clip, ...]
  num_frames: tuple[int, ...]
  skipped: tuple[tuple[str, str], ...]


def content_hash(source: Source, frontend: FrontendConfig, task: str) -> str:
  """Hash of everything that determines a prepared set: material, labels, recipe, format."""
  sound = frontend.to_dict()
  del sound["num_frames"]  # windows are cut in the pipeline: one set serves all window lengths
  parts = [FORMAT_VERSION, source.name, source.fingerprint(), list(source.classes), task, sound]
  return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def folder_name(source: Source, frontend: FrontendConfig, task: str) -> str:
  """What a prepared set is called."""
  return f"{source.name}-{content_hash(source, frontend, task)}"


def prepare(
  source: Source,
  frontend: FrontendConfig,
  root: str | os.PathLike,
  *,
  task: str = "single_label",
  workers: int = 0,
) -> Prepared:
  """Prepares a source's clips, or finds them prepared.

  Args:
    source: what clips there are.
    recipe: how sound becomes log-mel.
    root: folder of prepared sets.
    task: stored with the set.
    workers: processes that decode; 0 for one a core.
  Returns:
    The prepared set.
  Raises:
    UserError: where no clip can be read or the folder cannot be written.
  """
  final = pathlib.Path(root) / folder_name(source, frontend, task)
  if not final.exists():
    partial = final.with_name(final.name + ".partial")
    try:
      partial.mkdir(parents=True, exist_ok=True)
      with _lock(final.with_name(final.name + ".lock")):
        if not final.exists():  # another process may have made it while this one waited
          _write(source, frontend, task, partial, final, workers or os.cpu_count() or 1)
    except (OSError, *_tensorflow_errors()) as error:
      raise UserError(
        f"cannot write the prepared set {final}: {getattr(error, 'strerror', None) or error}; free"
        " space there or name another folder with --config.dataset.prepared_dir (what was done is"
        " kept)"
      ) from error
  return read(final, frontend)


def read(path: str | os.PathLike, frontend: FrontendConfig | None = None) -> Prepared:
  """Opens a prepared set.

  Args:
    path: its folder.
    recipe: if given, must equal the stored one but for the window length, which it sets.
  Raises:
    UserError: if the folder is not a prepared set, or was made with another frontend.
  """
  path = pathlib.Path(path)
  try:
    metadata = json.loads((path / "about.json").read_text())
    with open(path / "clips.csv", newline="") as file:
      rows = list(csv.DictReader(file))
    for name, size in metadata["bytes"].items():
      if (path / name).stat().st_size != size:
        raise ValueError(f"{name} should have {size} bytes")
    stored = FrontendConfig.from_dict(metadata["frontend"])
    clips = tuple(
      Clip(
        track=row["track"],
        group=row["group"],
        labels=_names(row["labels"]),
        path="",
        has_group=row["has_group"] == "1",
        split=row.get("split") or "",
        unknown=_names(row.get("unknown")),
      )
      for row in rows
    )
    prepared = Prepared(
      path,
      stored,
      tuple(metadata["classes"]),
      metadata["task"],
      metadata["source"],
      clips,
      tuple(int(row["num_frames"]) for row in rows),
      tuple((skip["clip"], skip["reason"]) for skip in metadata["skipped"]),
    )
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise UserError(
      f"{path} is not a whole prepared set ({error}); delete it and prepare again"
    ) from error
  if frontend is not None:
    prepared = dataclasses.replace(
      prepared, frontend=dataclasses.replace(stored, num_frames=frontend.num_frames)
    )
    if difference := prepared.frontend.difference(frontend):
      raise UserError(f"{path} was prepared with another recipe: {difference}")
  return prepared


def features(num_classes: int, n_mels: int):
  """The tensorflow-datasets features of a prepared set."""
  import tensorflow_datasets as tfds  # here: predicting must not wait for TensorFlow

  return tfds.features.FeaturesDict(
    {
      # As bytes: a list of floats takes seventy times as long to write (7 ms for 30 s of sound).
      "log_mel": tfds.features.Tensor(
        shape=(None, n_mels), dtype=np.float32, encoding=tfds.features.Encoding.BYTES
      ),
      "labels": tfds.features.Tensor(shape=(num_classes,), dtype=np.float32),
      "label_mask": tfds.features.Tensor(shape=(num_classes,), dtype=np.float32),
      "track": tfds.features.Text(),
      "group": tfds.features.Text(),
    }
  )


def label_vectors(clip: Clip, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
  """Labels as (float32[classes], float32[classes]): one for each label held, and what is known."""
  return (
    np.array([name in clip.labels for name in classes], np.float32),
    np.array([name not in clip.unknown for name in classes], np.float32),
  )


def _names(cell: str | None) -> tuple[str, ...]:
  """The names of a cell of clips.csv."""
  return tuple(cell.split(";")) if cell else ()


def _tensorflow_errors() -> tuple[type[Exception], ...]:
  """What TensorFlow raises where Python raises OSError."""
  import tensorflow as tf

  return (tf.errors.OpError,)


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> Iterator[None]:
  """Holds a file lock, so that two runs do not write one set at once."""
  with open(path, "w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      print(f"waiting for another process that prepares {path.stem}", file=sys.stderr)
      fcntl.flock(file, fcntl.LOCK_EX)
    yield


def _one_clip(reader: Reader, frontend: FrontendConfig, clip: Clip) -> np.ndarray | str:
  """A worker's unit: the clip's log-mel, or why it cannot be had."""
  try:
    return reader.log_mel(clip, frontend)
  except UnreadableAudio as error:
    return str(error)
  except Exception as error:  # whatever a decoder does with one file, the others are prepared
    return f"{type(error).__name__}: {error}"


def _write(source, frontend, task, partial, final, workers) -> None:
  """Writes the shards that are missing, then the metadata, then gives the folder its name."""
  import tensorflow as tf
  import tensorflow_datasets as tfds

  clips = list(source.clips)
  if not clips:
    raise UserError(f"the source {source.name} has no clips to prepare")
  info = features(len(source.classes), frontend.n_mels)
  num_shards = -(-len(clips) // CLIPS_PER_SHARD)
  shards = [clips[i * CLIPS_PER_SHARD : (i + 1) * CLIPS_PER_SHARD] for i in range(num_shards)]

  def path_of(shard: int, suffix: str = "") -> pathlib.Path:
    name = f"genre_jax-{SPLIT}.tfrecord-{shard:05d}-of-{num_shards:05d}"
    return partial / (name + suffix)

  missing = [i for i in range(num_shards) if not path_of(i, ".json").exists()]
  todo = [clip for i in missing for clip in shards[i]]
  if len(missing) < num_shards:
    print(f"going on: {len(clips) - len(todo)} of {len(clips)} clips were prepared before")
  log_mels = in_order(
    _one_clip, ((source.reader, frontend, clip) for clip in todo), workers if len(todo) > 8 else 1
  )
  with (
    tqdm(
      total=len(clips),
      initial=len(clips) - len(todo),
      desc="preparing",
      unit="clip",
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
      f"none of the {len(clips)} clips could be read; the first: "
      f"{skipped[0]['clip']}: {skipped[0]['reason']}"
    )
  template = tfds.core.ShardedFileTemplate(
    data_dir=partial,
    template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    dataset_name="genre_jax",
    split=SPLIT,
    filetype_suffix="tfrecord",
  )
  assignment = tfds.core.SplitInfo(
    name=SPLIT,
    shard_lengths=[len(shard["rows"]) for shard in done],
    num_bytes=sum(shard["bytes"] for shard in done),
    filename_template=template,
  )
  tfds.folder_dataset.write_metadata(
    data_dir=partial,
    features=info,
    split_infos=[assignment],
    version=FORMAT_VERSION,
    filename_template=template,
    check_data=False,
    description=f"Log-mel spectrograms of {source.name}, prepared by genre_jax.",
  )
  with open(partial / "clips.csv", "w", newline="") as file:
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
  print(f"prepared {len(rows)} clips in {final}, skipped {len(skipped)}")
  for skip in skipped:
    print(f"  skipped {skip['clip']}: {skip['reason']}")
