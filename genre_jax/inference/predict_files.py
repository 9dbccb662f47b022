"""Predict the genre of audio files and folders: `predict`.

Other processes decode the files; the network runs in threads of this one. A file that cannot be
used, crashes the decoder or takes too long gives a prediction with status 'failed' and the reason.
"""

import collections
import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from genre_jax.data import objects
from genre_jax.data.isolated_calls import IsolatedCalls, check_stopped, workers_for
from genre_jax.data.names import printable_path
from genre_jax.data.recognize import is_audio_name, is_hidden
from genre_jax.errors import UserError
from genre_jax.inference import model_dir
from genre_jax.inference.audio_inputs import copy_standard_input
from genre_jax.inference.model import Model, load
from genre_jax.inference.track_log_mel import TrackLogMel, read_track_log_mel

MAX_FILES_READ_HERE = 8  # up to which starting processes takes longer than they save
# Time to read a file, plus a tenth of its length. Reading takes about a hundredth.
FILE_SECONDS = 60.0
# Length of the clips in training and evaluation. A longer track gets the segments of one clip for
# each 30 s: with four segments of the whole track, half of them are its beginning and end.
CLIP_SECONDS = 30.0
SILENCE = "silence"  # the label of a part of a track without sound
SEGMENTS_AT_ONCE = 256  # of a timeline; bounds memory


@dataclasses.dataclass(frozen=True)
class Span:
  """Prediction for a part of a track.

  Attributes:
    start: Start in seconds.
    end: End in seconds.
    genre: The genre, 'unknown', 'silence', or tags joined by ';'.
    confidence: Highest probability; 0 for silence.
    probabilities: Calibrated probability of each class; {} for silence.
  """

  start: float
  end: float
  genre: str
  confidence: float
  probabilities: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Prediction:
  """Prediction for one file.

  Attributes:
    file: Name of the file in printable characters; others are escaped.
    path: Path of the file as the operating system has it.
    status: 'ok' or 'failed'.
    model: Name of the model.
    genre: The genre, 'unknown', or tags joined by ';'; '' if failed.
    confidence: Highest probability; None if failed.
    probabilities: Calibrated probability of each class; {} if failed.
    error: Reason of a failure, else ''.
    note: What of the file was damaged or missing although it could be used, else ''.
    seconds: Length of the track, or of the excerpts that were read; None if failed.
    timeline: Predictions over time; () unless requested.
    embedding: float32[features], the penultimate layer, mean over the segments; None if failed.
  """

  file: str
  path: str
  status: str
  model: str
  genre: str = ""
  confidence: float | None = None
  probabilities: dict[str, float] = dataclasses.field(default_factory=dict)
  error: str = ""
  seconds: float | None = None
  timeline: tuple[Span, ...] = ()
  embedding: np.ndarray | None = None
  note: str = ""


def find_files(
  paths: Iterable[str | os.PathLike], passed_over: collections.Counter[str] | None = None
) -> Iterator[tuple[str, str]]:
  """Find music files.

  Args:
    paths: Files, which may have any name, '-' for standard input, and folders. Folders are searched
      with their subfolders and links for names of music files. Hidden names are left out. URLs are
      searched as `objects.find_objects` does.
    passed_over: Counts the other files in folders by their extension, '' for none.

  Yields:
    (path, fault): fault is '' for a file, or the reason why a folder gives no file. No file and no
    folder is visited twice.

  Raises:
    UserError: If object storage cannot be listed.
  """
  seen: set[str] = set()
  for path in paths:
    path = os.fspath(path)
    if objects.protocol(path):
      new = [found for found in objects.find_objects(path) if found[0] not in seen]
      seen.update(url for url, _ in new)
      yield from new
      continue
    path = os.path.expanduser(path)
    if not os.path.isdir(path):
      if os.path.realpath(path) not in seen:
        seen.add(os.path.realpath(path))
        yield path, ""
      continue
    found = False
    unreadable: list[OSError] = []
    for folder, subfolders, names in os.walk(path, followlinks=True, onerror=unreadable.append):
      subfolders[:] = sorted(
        name
        for name in subfolders
        if not is_hidden(name) and not _seen_before(os.path.join(folder, name), seen)
      )
      for name in sorted(names):
        file = os.path.join(folder, name)
        if is_hidden(name):
          continue
        if is_audio_name(name):
          found = True
          if not _seen_before(file, seen):
            yield file, ""
        elif passed_over is not None:
          passed_over[os.path.splitext(name)[1].lower()] += 1
    for error in unreadable:
      yield error.filename, f"cannot be listed: {error.strerror}"
    if not found and not unreadable:
      yield path, "is a folder without music files"


def _seen_before(path: str, seen: set[str]) -> bool:
  """Return whether a path, by any of its names, is in `seen`; add it."""
  real = os.path.realpath(path)
  if real in seen:
    return True
  seen.add(real)
  return False


def predict(
  paths: str | os.PathLike | Iterable[str | os.PathLike],
  model: str | Model = model_dir.DEFAULT_MODEL,
  *,
  segments: int | None = None,
  timeline: bool = False,
  min_confidence: float = 0.0,
  workers: int = 0,
  file_seconds: float = FILE_SECONDS,
  excerpts: int = 0,
) -> Iterator[Prediction]:
  """Predict the genre of files.

  Args:
    paths: One or more files and folders.
    model: A value of --model, or a loaded Model.
    segments: Segments of a track, evenly spaced; 0 for adjacent segments of the whole track. None
      means the number used in evaluation for each 30 s.
    timeline: Also predict the genre over time.
    min_confidence: Below this probability the genre is 'unknown'.
    workers: Files at a time, each with a process that decodes and a thread of this process that
      predicts. 0 for one per core if there are many files; up to 8 files are then decoded in this
      process, which a crash of the decoder would end.
    file_seconds: Time to read a file, plus a tenth of its length; 0 for no limit. Applies to files
      that are decoded in other processes.
    excerpts: Number of excerpts of 30 s to read of each file, evenly spaced, by seeking; 0 for the
      whole file.

  Yields:
    A Prediction for each file, in order; status 'failed' for a file that cannot be used.

  Raises:
    UserError: If the model cannot be used or a number is out of range; never because of a file.
  """
  if isinstance(paths, (str, os.PathLike)):
    paths = [paths]
  return predict_found(
    find_files(paths),
    model,
    segments=segments,
    timeline=timeline,
    min_confidence=min_confidence,
    workers=workers,
    file_seconds=file_seconds,
    excerpts=excerpts,
  )


def predict_found(
  files: Iterable[tuple[str, str]],
  model: str | Model,
  *,
  segments: int | None = None,
  timeline: bool = False,
  min_confidence: float = 0.0,
  workers: int = 0,
  file_seconds: float = FILE_SECONDS,
  excerpts: int = 0,
  calls: IsolatedCalls | None = None,
) -> Iterator[Prediction]:
  """Predict the genre of files that `find_files` found; further arguments as of `predict`.

  With `calls`, which remains open, no file is decoded in this process.
  """
  model = load(model)
  if not 0 <= min_confidence <= 1:
    raise UserError(f"--min_confidence={min_confidence}: give a number from 0 to 1")
  if segments is not None and segments < 0:
    raise UserError(f"--segments={segments}: give 0 (the whole file) or more")
  if workers < 0:
    raise UserError(f"--workers={workers}: give 0 (one per core) or more")
  if not 0 <= file_seconds < float("inf"):
    raise UserError(f"--file_seconds={file_seconds}: give 0 (no limit) or more")
  if excerpts < 0:
    raise UserError(f"--excerpts={excerpts}: give 0 (the whole file) or more")
  if excerpts and timeline:
    raise UserError("--excerpts leaves out parts of a file, and --timeline needs all of it")
  files = list(files)
  if not workers and (calls or len(files) > MAX_FILES_READ_HERE):
    workers = workers_for(len(files))

  def predict_read(path, track):
    if isinstance(track, str):
      return _failed(path, model, track)
    return predict_track(
      path,
      track.opened(),
      model,
      segments=segments,
      timeline=timeline,
      min_confidence=min_confidence,
    )

  def compute(tasks, then):
    if not workers:
      yield from (then(task, read_track_log_mel(*task)) for task in tasks)
      return
    own = IsolatedCalls([read_track_log_mel.__module__]) if calls is None else None
    with own or contextlib.nullcontext(calls) as opened:
      yield from opened.results(read_track_log_mel, tasks, workers, file_seconds, then)

  return _predictions(files, model, compute, predict_read, excerpts)


def _predictions(files, model, compute, predict_read, excerpts):
  with contextlib.ExitStack() as stack:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="genre_jax-"))
    copy = copy_standard_input(folder) if ("-", "") in files else None
    tasks = [
      (copy if path == "-" else path, model.frontend, folder, 0.0, None, excerpts, True)
      for path, fault in files
      if not fault
    ]

    def then(task, track):
      return predict_read("-" if task[0] == copy else task[0], track)

    predicted = stack.enter_context(contextlib.closing(compute(tasks, then)))
    for path, fault in files:
      yield _failed(path, model, fault) if fault else next(predicted)


def _failed(path, model, reason):
  return Prediction(printable_path(path), path, "failed", model.name, error=reason)


def predict_track(
  path: str,
  track: TrackLogMel,
  model: Model,
  *,
  segments: int | None = None,
  timeline: bool = False,
  min_confidence: float = 0.0,
) -> Prediction:
  """Predict the genre of a track that has been read.

  Args:
    path: Path of the file.
    track: Its log-mel, opened.
    model: The loaded model.
    segments, timeline, min_confidence: As of `predict`.
  """
  if segments is None:
    segments = model.eval_per_track * max(1, round(track.sounding_seconds / CLIP_SECONDS))
  total: Any = 0.0
  embedding: Any = 0.0
  count = 0
  for probabilities, embeddings in _infer(model, track, track.track_ranges(segments)):
    total += probabilities.sum(0)
    embedding += embeddings.sum(0)
    count += len(probabilities)
  probabilities = model.calibrated(total / count)
  genre, confidence = model.decide_label(probabilities, min_confidence)
  return Prediction(
    printable_path(path),
    path,
    "ok",
    model.name,
    genre,
    confidence,
    probabilities_by_class(model, probabilities),
    seconds=track.seconds,
    embedding=(embedding / count).astype(np.float32),
    timeline=_timeline(model, track, min_confidence) if timeline else (),
    note=track.note,
  )


def _infer(model, track, ranges):
  for first in range(0, len(ranges), SEGMENTS_AT_ONCE):
    check_stopped()
    yield model.infer(*track.segments(ranges[first : first + SEGMENTS_AT_ONCE]))


def _timeline(model, track, min_confidence):
  """Return one span per segment; spans meet halfway between the centers of their segments."""
  starts = track.timeline_starts()
  centers = (starts + track.frontend.num_frames / 2) * track.frontend.seconds_per_frame
  edges = [0.0, *((centers[1:] + centers[:-1]) / 2), track.seconds]
  ranges = [track.timeline_segment(int(start)) for start in starts]
  predicted = _infer(model, track, [pair for pair in ranges if pair[1]])
  rows = (row for probabilities, _ in predicted for row in model.calibrated(probabilities))
  spans = []
  for pair, start, end in zip(ranges, edges[:-1], edges[1:], strict=True):
    genre, confidence, by_class = SILENCE, 0.0, {}
    if pair[1]:
      row = next(rows)
      genre, confidence = model.decide_label(row, min_confidence)
      by_class = probabilities_by_class(model, row)
    spans.append(Span(float(start), float(end), genre, confidence, by_class))
  return tuple(spans)


def probabilities_by_class(model: Model, probabilities: np.ndarray) -> dict[str, float]:
  """Return {class: probability} in the model's order of classes."""
  return dict(zip(model.classes, probabilities.tolist(), strict=True))
