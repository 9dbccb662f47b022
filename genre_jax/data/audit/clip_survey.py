"""Compute the facts of every clip of a source on all cores.

An interrupted survey resumes: finished chunks are stored as arrays and JSON until the report of the
audit is written. A clip that fails does not stop the survey.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from genre_jax.data.audit import landmarks
from genre_jax.data.audit.clip_facts import ClipFacts, analysis_config, examine_all
from genre_jax.data.audit.landmarks import Landmarks
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.source import Source
from genre_jax.data.workers import in_order
from genre_jax.files import move_into_place

# Clips stored at a time, so that an interrupted audit resumes, and clips per task of a worker.
CLIPS_PER_CHUNK, CLIPS_PER_TASK = 256, 8


def examine_source(
  source: Source, frontend: FrontendConfig, folder: str | os.PathLike, workers: int = 0
) -> list[ClipFacts]:
  """Return the facts of every clip, in the order of the source.

  Args:
    source: Clips and their reader.
    frontend: Front end of the config; see `clip_facts.analysis_config`.
    folder: Folder for finished chunks; see `remove_chunks`.
    workers: Number of processes; 0 for one per core.
  """
  analysis = analysis_config(source.reader, frontend)
  metadata = [landmarks.VERSION, source.fingerprint(), analysis.to_dict()]
  name = hashlib.sha256(json.dumps(metadata).encode()).hexdigest()[:12]
  chunk_folder = pathlib.Path(folder) / "partial"
  chunk_folder.mkdir(parents=True, exist_ok=True)
  paths = [
    chunk_folder / f"{name}-{start:08d}.npz"
    for start in range(0, len(source.clips), CLIPS_PER_CHUNK)
  ]
  chunks = [
    list(source.clips[start : start + CLIPS_PER_CHUNK])
    for start in range(0, len(source.clips), CLIPS_PER_CHUNK)
  ]
  done = [path.exists() for path in paths]
  todo = [clip for chunk, exists in zip(chunks, done, strict=True) if not exists for clip in chunk]
  facts = _facts(source.reader, todo, analysis, workers or os.cpu_count() or 1)
  result = []
  with (
    tqdm(total=len(source.clips), desc="examining", unit="clip", disable=None, leave=False) as bar,
    contextlib.closing(facts),
  ):
    for path, chunk, exists in zip(paths, chunks, done, strict=True):
      if exists:
        result += load_facts(path)
        bar.update(len(chunk))
        continue
      chunk_facts = []
      for _ in chunk:
        chunk_facts.append(next(facts))
        bar.update()
      save_facts(path, chunk_facts)
      result += chunk_facts
  return result


def remove_chunks(folder: str | os.PathLike) -> None:
  """Remove the chunks that `examine_source` stored."""
  shutil.rmtree(pathlib.Path(folder) / "partial", ignore_errors=True)


def _facts(reader, clips, frontend, workers) -> Iterator[ClipFacts]:
  """Yield facts in order, with few tasks in flight."""
  tasks = [
    (reader, clips[at : at + CLIPS_PER_TASK], frontend)
    for at in range(0, len(clips), CLIPS_PER_TASK)
  ]
  for facts in in_order(examine_all, tasks, workers if len(tasks) > 1 else 1):
    yield from facts


# Arrays of Landmarks, and the type in which each is stored.
ARRAYS = {
  "times": np.int32,
  "bands": np.uint8,
  "levels": np.float16,
  "keys": np.uint32,
  "key_times": np.int32,
}


def save_facts(path: pathlib.Path, facts: Sequence[ClipFacts]) -> None:
  """Write facts as arrays and JSON, without Python objects; the file is either whole or absent."""
  rows, arrays = [], {name: [] for name in ARRAYS}
  for fact in facts:
    row = {name: value for name, value in vars(fact).items() if name != "landmarks"}
    found = fact.landmarks
    row["landmarks"] = found and [found.num_frames, len(found.times), len(found.keys)]
    rows.append(row)
    for name in ARRAYS if found else ():
      arrays[name].append(getattr(found, name))
  whole = {
    name: np.concatenate([np.zeros(0, kind), *arrays[name]]) for name, kind in ARRAYS.items()
  }
  temporary = path.with_suffix(".tmp")
  with open(temporary, "wb") as file:
    np.savez(file, rows=np.frombuffer(json.dumps(rows).encode(), np.uint8), **whole)
  move_into_place(temporary, path)


def load_facts(path: pathlib.Path) -> list[ClipFacts]:
  """Read the facts that `save_facts` wrote."""
  with np.load(path, allow_pickle=False) as stored:
    rows = json.loads(stored["rows"].tobytes())
    arrays = {name: stored[name] for name in ARRAYS}
  at = dict.fromkeys(ARRAYS, 0)
  facts = []
  for row in rows:
    counts = row.pop("landmarks")
    found = None
    if counts:
      num_frames, points, keys = counts
      parts = {}
      for name in ARRAYS:
        count = keys if name.startswith("key") else points
        parts[name] = arrays[name][at[name] : at[name] + count]
        at[name] += count
      found = Landmarks(num_frames, **parts)
    facts.append(ClipFacts(**row, landmarks=found))
  return facts
