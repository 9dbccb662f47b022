"""Audio files to a prepared set, against decoding, resampling and log-mel alone."""

import dataclasses
import pathlib
import shutil
import tempfile

import numpy as np

from benchmarks.harness import Contender, format_ratio
from benchmarks.synthetic_audio import write_files
from genre_jax.data.frontend import FrontendConfig

TITLE = "Audio files to a prepared set"
TARGET = (
  "at least 0.9 of the rate of decoding, resampling and log-mel alone; 2 workers at least 1.9 x one"
  " from 1,000 files on"
)
NOTES = "input-pipeline-and-prepared-sets"
THREADS = ("all",)
REPEATS = 2
FILES, SECONDS = {22050: 1000, 44100: 100}, 30.0  # by rate
FRONTEND = FrontendConfig()
KINDS = {"FLAC at 22.05 kHz": ("flac", 22050), "MP3 at 44.1 kHz": ("mp3", 44100)}


def prepared_set(kind: str, rate: int, workers: int):
  """Return the setup of the whole task of `python -m genre_jax.prepare`."""

  def setup():
    from genre_jax.data import pipeline
    from genre_jax.data.prepared import prepare

    source, root = _source(kind, rate), pathlib.Path(tempfile.mkdtemp()) / "prepared"

    def run():
      shutil.rmtree(root, ignore_errors=True)
      return np.array(prepare(source, FRONTEND, root, workers=workers).num_frames)

    few = dataclasses.replace(source, clips=source.clips[:4])
    prepared = prepare(few, FRONTEND, root, workers=workers)
    _, first = next(pipeline.read_clips(prepared, np.arange(4) == 0).as_numpy_iterator())
    np.testing.assert_array_equal(first["log_mel"], source.log_mel(source.clips[0], FRONTEND))
    return run

  return setup


def nothing_written(kind: str, rate: int):
  """Return the setup of the same with two workers, without writing."""

  def setup():
    from genre_jax.data.workers import in_order

    source = _source(kind, rate)

    def run():
      tasks = ((source.reader, FRONTEND, clip) for clip in source.clips)
      return np.array(list(in_order(frames_of, tasks, 2)))

    return run

  return setup


def frames_of(reader, frontend, clip) -> int:
  """Read a clip in a worker and return its number of frames."""
  return len(reader.log_mel(clip, frontend))


def _source(kind, rate):
  from genre_jax.data.sources.registry import open_source

  songs = pathlib.Path(tempfile.mkdtemp())
  write_files(
    songs, kind, rate, channels=2 if rate == 44100 else 1, count=FILES[rate], seconds=SECONDS
  )
  return open_source("audio_folder", str(songs), "all")


def start(workers: int):
  """Return the setup of worker processes that only import the readers of files."""

  def setup():
    from genre_jax.data.workers import in_order

    return lambda: list(in_order(imported, [()] * 4 * workers, workers)) and None

  return setup


def imported() -> None:
  """Import the modules that a worker imports before its first clip."""
  from genre_jax.data import (
    audio,  # noqa: F401
    log_mel,  # noqa: F401
  )
  from genre_jax.data.sources import audio_folder  # noqa: F401


def _contenders():
  for case, (kind, rate) in KINDS.items():
    for workers in (1, 2):
      end = f"{workers} worker{'s' * (workers > 1)} ({case})"
      yield (
        f"prepared set, {end}",
        Contender("genre_jax", prepared_set(kind, rate, workers), role="ours", case=case),
      )
    yield (
      f"without writing, 2 workers ({case})",
      Contender("genre_jax", nothing_written(kind, rate), role="floor", case=case),
    )
    yield f"start of 2 workers ({case})", Contender("genre_jax", start(2), role="floor", case=case)


CONTENDERS = dict(_contenders())


def remarks(outcomes) -> list[str]:
  """Return the ratios of the target, and clips/s."""
  lines = []
  for (case, _), outcome in outcomes.items():
    whole = {n: f"prepared set, {n} worker{'s' * (n > 1)} ({case})" for n in (1, 2)}
    bare = f"without writing, 2 workers ({case})"
    needed = (*whole.values(), f"start of 2 workers ({case})")
    if not outcome.times.keys() >= {*needed, bare}:
      lines.append(f"{case}: not measured")
      continue
    one, two, begin = (np.array(outcome.times[name]) for name in needed)
    files = FILES[KINDS[case][1]]
    lines.append(
      f"{case}: {files / np.median(two):.1f} clips/s with 2 workers; rate relative to the same"
      f" without writing {format_ratio(outcome.ratio(bare, whole[2]))}; 2 workers"
      f" {format_ratio(outcome.ratio(whole[1], whole[2]))} x one, without their start"
      f" {np.median(one / (two - begin)):.2f} x"
    )
  return [
    *lines,
    f"{FILES[22050]} files of {SECONDS:g} s, mono, at 22.05 kHz, {FILES[44100]},"
    " stereo, at 44.1; all times include the start of the workers",
  ]
