"""Measure a library of synthetic songs: `python -m benchmarks.library [--rows=1000000]`.

Prints seconds and memory of filling it, `status`, loading the embeddings and a search for similar
songs. The songs are in 2,000 clusters, 12 per album.
"""

import argparse
import json
import pathlib
import resource
import statistics
import tempfile
import time

import numpy as np

from genre_jax.library import database, overview
from genre_jax.library.embeddings import Embeddings
from genre_jax.library.similar import Limits, similar

FEATURES, CLUSTERS, CLASSES, PART, SEARCHES = 128, 2000, 10, 20_000, 9


def fill(db, rows: int) -> None:
  """Add songs, in transactions of PART rows."""
  rng = np.random.default_rng(0)
  centers = rng.normal(size=(CLUSTERS, FEATURES))
  classes = json.dumps([f"class {number}" for number in range(CLASSES)])
  db.execute(
    "INSERT INTO model (id, hash, name, classes, task, used) VALUES (1, 'x', 'synthetic', ?,"
    " 'single_label', 0)",
    (classes,),
  )
  probabilities = np.full(CLASSES, 1 / CLASSES, np.float32).tobytes()
  for first in range(0, rows, PART):
    cluster = rng.integers(0, CLUSTERS, PART)
    values = centers[cluster] + 0.7 * rng.normal(size=(PART, FEATURES))
    numbers = range(first, min(first + PART, rows))
    with database.transaction(db):
      db.executemany(
        "INSERT INTO file VALUES (?, ?, 1, 1, 1, ?, ?, 200.0, ?, 'ok', '', NULL)",
        [
          (
            number + 1,
            f"/music/{number // 12}/{number}.flac".encode(),
            number,
            number.to_bytes(32, "big"),
            json.dumps(
              {"title": f"{number}", "artist": f"{number // 60}", "album": f"{number // 12}"}
            ),
          )
          for number in numbers
        ],
      )
      db.executemany(
        "INSERT INTO analysis VALUES (?, 1, ?, 0.5, ?, ?)",
        [
          (
            number + 1,
            f"class {cluster[number - first] % CLASSES}",
            probabilities,
            values[number - first].astype(np.float16).tobytes(),
          )
          for number in numbers
        ],
      )


def main() -> None:
  """Fill a library and print what each step took."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--rows", type=int, default=1_000_000, help="number of songs")
  rows = parser.parse_args().rows
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "library.db")
    db = database.open_database(path, create=True)

    def measure(name, function):
      start = time.perf_counter()
      result = function()
      memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
      print(f"{name:24} {time.perf_counter() - start:8.3f} s  {memory:6.0f} MB", flush=True)
      return result

    measure(f"fill {rows:,} rows", lambda: fill(db, rows))
    model = database.find_model(db)
    measure("status", lambda: overview.status(db, model))
    embeddings = measure("load the embeddings", lambda: Embeddings(db, model))
    times = []
    for number in range(SEARCHES):
      start = time.perf_counter()
      similar(db, embeddings, [1 + number * rows // SEARCHES], Limits())
      times.append(time.perf_counter() - start)
    measure("search", lambda: similar(db, embeddings, [1], Limits()))
    print(f"search, median of {SEARCHES}    {statistics.median(times):8.3f} s")
    db.close()
    size = sum(file.stat().st_size for file in path.parent.iterdir())
    print(f"size of the file         {size / 1e6:8.0f} MB")


if __name__ == "__main__":
  main()
