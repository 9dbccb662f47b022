"""Write a prepared set: shards of log-mel in tensorflow-datasets format, and their tables.

Each shard is complete when its JSON file exists, so an interrupted run resumes at the next shard.
"""

import contextlib
import csv
import itertools
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator

from tqdm import tqdm

from genre_jax.data import shards
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.shards import TFDS_SPLIT, ShardWork, log_mel_of, write_shard
from genre_jax.data.source import Clip, Source
from genre_jax.data.workers import in_order
from genre_jax.errors import UserError
from genre_jax.files import write_whole

FORMAT_VERSION = "1.3.0"  # part of a set's hash: raise it when the stored content changes
# Writes shards, given as (number, clips), in any order, and yields the number of each.
Engine = Callable[[ShardWork, Iterable[tuple[int, list[Clip]]]], Iterator[int]]


def write_shards(
  work: ShardWork, parts: Iterable[tuple[int, list[Clip]]], *, workers: int
) -> Iterator[int]:
  """Write shards on this machine.

  Args:
    work: What all shards share.
    parts: Number and clips of each shard.
    workers: Number of processes that decode.

  Yields:
    The number of each shard that was written.
  """
  parts = list(parts)
  tasks = [(work.reader, work.frontend, clip) for _, clips in parts for clip in clips]
  log_mels = in_order(log_mel_of, tasks, workers if len(tasks) > 8 else 1)
  with contextlib.closing(log_mels):
    # The first result starts the workers, which go on while TensorFlow is imported for writing.
    results = itertools.chain(list(itertools.islice(log_mels, 1)), log_mels)
    for number, clips in parts:
      write_shard(work, number, clips, itertools.islice(results, len(clips)))
      yield number


def write_prepared(
  source: Source,
  frontend: FrontendConfig,
  task: str,
  partial: pathlib.Path,
  final: pathlib.Path,
  engine: Engine,
) -> None:
  """Write the missing shards and the metadata, then rename the folder.

  Args:
    source: Clips and their reader.
    frontend: Front end.
    task: 'single_label' or 'multi_label', stored with the set.
    partial: Existing folder, which may contain finished shards.
    final: Name of the folder when it is complete.
    engine: Writes shards, as `write_shards`.

  Raises:
    UserError: If the source has no tracks, or none can be read.
  """
  clips = list(source.clips)
  if not clips:
    raise UserError(f"the source {source.name} has no tracks to prepare")
  size = shards.CLIPS_PER_SHARD
  parts = [clips[i : i + size] for i in range(0, len(clips), size)]
  work = ShardWork(partial.absolute(), len(parts), source.classes, source.reader, frontend)
  missing = [i for i in range(len(parts)) if not work.path(i, ".json").exists()]
  finished = len(clips) - sum(len(parts[i]) for i in missing)
  if finished:
    print(f"resumes: {finished} of {len(clips)} tracks are prepared already")
  with tqdm(
    total=len(clips), initial=finished, desc="preparing", unit="track", disable=None, leave=False
  ) as bar:
    for number in engine(work, [(i, parts[i]) for i in missing]):
      bar.update(len(parts[number]))
  import tensorflow_datasets as tfds  # here: the workers start before it

  for path in partial.glob(".*.tmp"):  # of processes that were killed
    path.unlink(missing_ok=True)

  done = [json.loads(work.path(i, ".json").read_text()) for i in range(len(parts))]
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
    features=shards.features(len(source.classes), frontend.n_mels),
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
  for i in range(len(parts)):
    work.path(i, ".json").unlink()
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
