"""Growth of the cost of a library with the number of songs."""

import contextlib
import functools
import pathlib
import shutil
import time

import numpy as np

from benchmarks.harness import Options
from benchmarks.suites.growth import plot, slope
from benchmarks.synthetic_audio import music

TITLE = "Growth of the cost of a library"
TARGET = "proportional growth, a slope of 1 on logarithmic axes; the slope is stated"
TIMES = (1, 4, 16, 64)
SCANNED, SIMILAR, LEARNED = 8, 4000, 500  # songs, the smallest number of each
SECONDS, RATE = 10.0, 22050
MODEL = "axis_features_10"
PARTITION = 8  # files
FEATURES, GENRES, SEARCHES = 128, 10, 9


def write_songs(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
  """Write FLAC files of equal length and different sound: equal sound is analyzed once."""
  import soundfile

  folder.mkdir()
  paths = [folder / f"{number:04}.flac" for number in range(count)]
  for number, path in enumerate(paths):
    soundfile.write(path, music(SECONDS, RATE, number), RATE)
  return paths


def scanning(folder: pathlib.Path, songs: list[pathlib.Path], counts: list[int]) -> list[float]:
  """Return the seconds to scan each number of songs, with workers that have started."""
  from genre_jax.data.isolated_calls import IsolatedCalls
  from genre_jax.inference import load
  from genre_jax.library import database, read_song, scan

  some, model, times = folder / "some", load(MODEL), []
  with IsolatedCalls([read_song.__name__]) as calls:
    for count in (counts[0], *counts):  # the first one warms up
      shutil.rmtree(some, ignore_errors=True)
      some.mkdir()
      for path in songs[:count]:
        (some / path.name).hardlink_to(path)
      read = functools.partial(
        read_song.read_songs, frontend=model.frontend, calls=calls, workers=0, seconds=0.0
      )
      (folder / "scan.db").unlink(missing_ok=True)
      with contextlib.closing(database.open_database(folder / "scan.db", create=True)) as db:
        begun = time.perf_counter()
        status = scan.run(db, model, [str(some)], read, retry=False)
        times.append(time.perf_counter() - begun)
        if status:
          raise RuntimeError(f"a scan of {count} songs failed")
  return times[1:]


def partitioning(folder: pathlib.Path, songs: list[pathlib.Path], counts: list[int]) -> list[float]:
  """Return the seconds of a job of each number of songs, with workers that have started."""
  from genre_jax.data.isolated_calls import IsolatedCalls
  from genre_jax.distributed import job, manifest, pool
  from genre_jax.inference import load, track_log_mel

  model, times = load(MODEL), []
  settings = manifest.settings_of(
    model, segments=None, timeline=False, min_confidence=0.0, partition_files=PARTITION
  )
  with IsolatedCalls([track_log_mel.__name__]) as calls:
    engine = functools.partial(pool.predict_all, model=model, calls=calls, workers=0)
    for count in (counts[0], *counts):  # the first one warms up
      work, files = folder / "job", [(str(path), "") for path in songs[:count]]
      shutil.rmtree(work, ignore_errors=True)
      begun = time.perf_counter()
      done = job.run(work, settings, files, engine, file_seconds=0.0, num_failures=1)
      times.append(time.perf_counter() - begun)
      if done.failed:
        raise RuntimeError(f"job of {count} songs: {done}")
  return times[1:]


def searching(folder: pathlib.Path, counts: list[int]) -> tuple[list[float], list[float]]:
  """Return the seconds to load embeddings, and the medians to search for similar songs."""
  from benchmarks.library import fill
  from genre_jax.library import database
  from genre_jax.library.embeddings import Embeddings
  from genre_jax.library.similar import Limits, similar

  loading, searches = [], []
  for count in counts:
    path = folder / f"similar-{count}.db"
    with contextlib.closing(database.open_database(path, create=True)) as db:
      fill(db, count)
      model = database.find_model(db)
      begun = time.perf_counter()
      embeddings = Embeddings(db, model)
      loading.append(time.perf_counter() - begun)
      similar(db, embeddings, [1], Limits())  # warms up
      times = []
      for number in range(SEARCHES):
        begun = time.perf_counter()
        similar(db, embeddings, [1 + number * count // SEARCHES], Limits())
        times.append(time.perf_counter() - begun)
      searches.append(float(np.median(times)))
  return loading, searches


def learning(counts: list[int]) -> list[float]:
  """Return the seconds to cross-validate and fit a layer on each number of songs."""
  from genre_jax.library import learn, softmax_regression
  from genre_jax.library.learning_examples import Examples

  rng, times = np.random.default_rng(0), []
  centers = rng.normal(size=(GENRES, FEATURES))
  for count in (counts[0], *counts):  # the first one warms up
    labels = np.arange(count) % GENRES
    features = (centers[labels] + 3 * rng.normal(size=(count, FEATURES))).astype(np.float32)
    examples = Examples(
      tuple(map(str, range(count))),
      tuple(str(number // 10) for number in range(count)),
      labels,
      features,
      tuple(f"genre {number}" for number in range(GENRES)),
      {},
    )
    start = np.zeros((count, GENRES), np.float32)
    begun = time.perf_counter()
    _, _, decay = learn.cross_validate(examples, start)
    softmax_regression.fit(features, labels, start, decay)
    times.append(time.perf_counter() - begun)
  return times[1:]


def report(options: Options) -> str:
  """Measure, plot, and return a table with slopes in Markdown."""

  def sizes(smallest):
    return [max(2, round(smallest * options.scale)) * times for times in TIMES]

  files = sizes(SCANNED)
  paths = write_songs(options.folder / "songs", files[-1])
  loading, searches = searching(options.folder, sizes(SIMILAR))
  flac = f"FLAC of {SECONDS:g} s"
  curves = {
    f"`scan`, {flac}": (files, scanning(options.folder, paths, files)),
    f"`job`, {flac}, {PARTITION} a partition": (
      files,
      partitioning(options.folder, paths, files),
    ),
    "`similar`: load the embeddings": (sizes(SIMILAR), loading),
    "`similar`: search": (sizes(SIMILAR), searches),
    f"`learn`, {FEATURES} numbers a song": (sizes(LEARNED), learning(sizes(LEARNED))),
  }
  name = "growth_library.png"
  relative = {what: np.array(times) / times[0] for what, (_, times) in curves.items()}
  plot(options.plots / name, "times the songs", list(TIMES), relative, "relative cost")
  head = " | ".join(f"{times} x" for times in TIMES)
  rows = [
    f"| {what} | {songs[0]:,} | "
    + " | ".join(f"{value:.3g} s" for value in times)
    + f" | {slope(songs, times):.2f} |"
    for what, (songs, times) in curves.items()
  ]
  return "\n".join(
    [
      f"| step | songs at 1 x | {head} | slope |",
      "|---" * (len(TIMES) + 3) + "|",
      *rows,
      "",
      f"![relative cost against songs](plots/{name})",
      "",
    ]
  )
