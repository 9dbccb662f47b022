"""Facts of every clip of a source: on all cores, resumable, and never stopped by a clip.

Between the facts of one clip and the report of the audit. What is finished is kept in chunks, as
arrays and JSON, until the report is written.
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

# Clips kept at a time, so that an interrupted audit goes on; and given to a worker at a time.
CLIPS_PER_CHUNK, CLIPS_PER_TASK = 256, 8


def examine_source(
  source: Source, frontend: FrontendConfig, folder: str | os.PathLike, workers: int = 0
) -> list[ClipFacts]:
  """Facts of every clip, in the order of the source, computed on all cores.

  Args:
    source: what clips there are.
    recipe: of the config; see `clip_facts.hearing`.
    folder: where finished chunks are kept until the audit ends; see `forget_chunks`.
    workers: processes; 0 for one a core.
  """
  heard = analysis_config(source.reader, frontend)
  metadata = [landmarks.VERSION, source.fingerprint(), heard.to_dict()]
  name = hashlib.sha256(json.dumps(metadata).encode()).hexdigest()[:12]
  kept = pathlib.Path(folder) / "partial"
  kept.mkdir(parents=True, exist_ok=True)
  paths = [
    kept / f"{name}-{start:08d}.npz" for start in range(0, len(source.clips), CLIPS_PER_CHUNK)
  ]
  chunks = [
    list(source.clips[start : start + CLIPS_PER_CHUNK])
    for start in range(0, len(source.clips), CLIPS_PER_CHUNK)
  ]
  done = [path.exists() for path in paths]
  todo = [clip for chunk, there in zip(chunks, done, strict=True) if not there for clip in chunk]
  facts = _facts(source.reader, todo, heard, workers or os.cpu_count() or 1)
  result = []
  with (
    tqdm(total=len(source.clips), desc="examining", unit="clip", disable=None, leave=False) as bar,
    contextlib.closing(facts),
  ):
    for path, chunk, there in zip(paths, chunks, done, strict=True):
      if there:
        result += load_facts(path)
        bar.update(len(chunk))
        continue
      here = []
      for _ in chunk:
        here.append(next(facts))
        bar.update()
      save_facts(path, here)
      result += here
  return result


def forget_chunks(folder: str | os.PathLike) -> None:
  """Removes what `examine_source` kept, once the report is written."""
  shutil.rmtree(pathlib.Path(folder) / "partial", ignore_errors=True)


def _facts(reader, clips, frontend, workers) -> Iterator[ClipFacts]:
  """Facts in order, with few tasks in flight."""
  tasks = [
    (reader, clips[at : at + CLIPS_PER_TASK], frontend)
    for at in range(0, len(clips), CLIPS_PER_TASK)
  ]
  for facts in in_order(examine_all, tasks, workers if len(tasks) > 1 else 1):
    yield from facts


# Of Landmarks, with the type that each is stored in.
ARRAYS = {
  "times": np.int32,
  "bands": np.uint8,
  "levels": np.float16,
  "keys": np.uint32,
  "key_times": np.int32,
}


def save_facts(path: pathlib.Path, facts: Sequence[ClipFacts]) -> None:
  """Writes facts as arrays and JSON, no Python objects; the file is either whole or absent."""
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
  os.replace(temporary, path)


def load_facts(path: pathlib.Path) -> list[ClipFacts]:
  """Reads what `save_facts` wrote."""
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
