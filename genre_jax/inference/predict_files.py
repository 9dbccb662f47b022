"""Files and folders in, a genre for each out: `predict`.

Last step for those who have recordings. Files are decoded by several processes and the network is
asked in this one; whatever is wrong with a file becomes its answer.
"""

import concurrent.futures.process
import dataclasses
import os
import tempfile
from collections.abc import Iterable, Iterator

import numpy as np

from genre_jax.data.files import is_audio_name
from genre_jax.data.workers import in_order
from genre_jax.errors import UserError
from genre_jax.inference import model_dir
from genre_jax.inference.model import Model, load
from genre_jax.inference.spectra import Spectrum, read_spectrum

FEW_FILES = 8  # up to so many, starting further processes costs more than they save
# Clips of training and evaluation. Of a song as many windows are heard of each such part: four of
# the whole would be half beginning and end, and a metal song that fades was called hip-hop.
CLIP_SECONDS = 30.0
WINDOWS_AT_ONCE = 256  # of a timeline: bounds memory


@dataclasses.dataclass(frozen=True)
class Span:
  """What is heard in a part of a file: `start` to `end` in seconds."""

  start: float
  end: float
  genre: str
  confidence: float
  probabilities: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Prediction:
  """What is said of one file.

  Attributes:
    file: its name, as it was given or as found in a folder.
    path: the same as the system has it (names that are not UTF-8 are escaped in `file`).
    status: 'ok' or 'failed'.
    model: name of the model.
    genre: the genre, 'unknown', or tags joined by ';'; '' where it failed.
    confidence: the highest probability.
    probabilities: of each class, calibrated.
    error: why it failed.
    seconds: length of the file.
    timeline: where asked for.
    embedding: float32[features], the penultimate layer, mean over the windows; none where failed.
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


def printable_path(path: str) -> str:
  """A path as one line of text; what a terminal would obey and what is no UTF-8 is escaped."""
  text = os.fsencode(path).decode("utf-8", "backslashreplace")
  return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def find_files(paths: Iterable[str | os.PathLike]) -> Iterator[tuple[str, str]]:
  """Audio files that paths name, as (path, what is wrong with it or '').

  A file is taken whatever its name is; a folder is searched through, links included, for names
  that end as audio does. No file and no folder comes twice.
  """
  seen: set[str] = set()
  for path in paths:
    path = os.path.expanduser(os.fspath(path))
    if not os.path.isdir(path):
      if os.path.realpath(path) not in seen:
        seen.add(os.path.realpath(path))
        yield path, ""
      continue
    found = False
    unlisted: list[OSError] = []
    for folder, inside, names in os.walk(path, followlinks=True, onerror=unlisted.append):
      inside[:] = sorted(
        name
        for name in inside
        if not name.startswith(".") and not _met(os.path.join(folder, name), seen)
      )
      for name in sorted(names):
        file = os.path.join(folder, name)
        if is_audio_name(name) and not name.startswith("."):
          found = True
          if not _met(file, seen):
            yield file, ""
    for error in unlisted:
      yield error.filename, f"cannot be listed: {error.strerror}"
    if not found and not unlisted:
      yield path, "is a folder without audio files"


def _met(path: str, seen: set[str]) -> bool:
  """Whether a place was met before under any name; it is from now on."""
  real = os.path.realpath(path)
  if real in seen:
    return True
  seen.add(real)
  return False


def predict(
  paths: str | os.PathLike | Iterable[str | os.PathLike],
  model: str | Model = model_dir.DEFAULT_MODEL,
  *,
  windows: int | None = None,
  timeline: bool = False,
  min_confidence: float = 0.0,
  workers: int = 0,
) -> Iterator[Prediction]:
  """The genre of each file.

  Args:
    paths: one or more files and folders.
    model: what --model takes, or a Model that is loaded already.
    windows: of a track, evenly spaced; 0 for as many as fit side by side; None for as many as in
      evaluation, of each 30 s.
    timeline: also tell the genre over time.
    min_confidence: below it the genre is 'unknown'.
    workers: processes that decode; 0 for one a core where there are many files.
  Yields:
    An Answer for each file, in order; one with status 'failed' for what cannot be heard.
  Raises:
    UserError: for a model or a number that cannot be used; never for a file.
  """
  if isinstance(paths, (str, os.PathLike)):
    paths = [paths]
  return predict_found(
    find_files(paths),
    model,
    windows=windows,
    timeline=timeline,
    min_confidence=min_confidence,
    workers=workers,
  )


def predict_found(
  files: Iterable[tuple[str, str]],
  model: str | Model,
  *,
  windows: int | None = None,
  timeline: bool = False,
  min_confidence: float = 0.0,
  workers: int = 0,
) -> Iterator[Prediction]:
  """`predict` of what `find_files` found."""
  model = load(model)
  if not 0 <= min_confidence <= 1:
    raise UserError(f"--min_confidence={min_confidence}: give a number from 0 to 1")
  if windows is not None and windows < 0:
    raise UserError(f"--windows={windows}: give 0 (the whole file) or more")
  if workers < 0:
    raise UserError(f"--workers={workers}: give 0 (one a core) or more")
  return _predictions(list(files), model, windows, timeline, min_confidence, workers)


def _predictions(files, model, windows, timeline, min_confidence, workers):
  workers = workers or (os.cpu_count() or 1 if len(files) > FEW_FILES else 1)
  with tempfile.TemporaryDirectory(prefix="genre_jax-") as folder:
    tasks = [(path, model.frontend, folder) for path, wrong in files if not wrong]
    spectra = read_all(read_spectrum, tasks, workers)
    for path, wrong in files:
      spectrum = wrong or next(spectra)
      if isinstance(spectrum, str):
        yield Prediction(printable_path(path), path, "failed", model.name, error=spectrum)
      else:
        yield predict_track(
          path,
          spectrum.opened(),
          model,
          windows=windows,
          timeline=timeline,
          min_confidence=min_confidence,
        )


def read_all(read, tasks: list[tuple], workers: int) -> Iterator[Spectrum | str]:
  """`read(*task)` of each task; one that ends its process costs no other task its answer."""
  at = 0
  while at < len(tasks):
    try:
      for result in in_order(read, tasks[at:], workers):
        yield result
        at += 1
    except concurrent.futures.process.BrokenProcessPool:
      # It broke for one of those in flight: the next in line is asked alone, in a pool of its own.
      try:
        result = next(in_order(read, tasks[at : at + 1], 2))
      except concurrent.futures.process.BrokenProcessPool:
        result = "ended the process that read it: its decoder failed, or memory did not suffice"
      yield result
      at += 1


def predict_track(
  path: str,
  spectrum: Spectrum,
  model: Model,
  *,
  windows: int | None = None,
  timeline: bool = False,
  min_confidence: float = 0.0,
) -> Prediction:
  """The answer for a file that was read; arguments as those of `predict`."""
  if windows is None:
    windows = model.eval_per_track * max(1, round(spectrum.seconds / CLIP_SECONDS))
  total, embedding, count = 0.0, 0.0, 0
  for probabilities, embeddings in _ask(model, spectrum, spectrum.track_starts(windows)):
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
    named(model, probabilities),
    seconds=spectrum.seconds,
    embedding=(embedding / count).astype(np.float32),
    timeline=_timeline(model, spectrum, min_confidence) if timeline else (),
  )


def _ask(model, spectrum, starts):
  """Probabilities and embeddings of the windows, some at a time."""
  for at in range(0, len(starts), WINDOWS_AT_ONCE):
    yield model.infer(*spectrum.windows(starts[at : at + WINDOWS_AT_ONCE]))


def _timeline(model, spectrum, min_confidence):
  """One span a window; they meet half way between the windows' middles."""
  starts = spectrum.timeline_starts()
  seconds = spectrum.frontend.seconds_per_frame
  middles = (starts + spectrum.frontend.num_frames / 2) * seconds
  edges = [0.0, *((middles[1:] + middles[:-1]) / 2), spectrum.seconds]
  spans = []
  for probabilities, _ in _ask(model, spectrum, starts):
    for row in model.calibrated(probabilities):
      genre, confidence = model.decide_label(row, min_confidence)
      number = len(spans)
      spans.append(
        Span(float(edges[number]), float(edges[number + 1]), genre, confidence, named(model, row))
      )
  return tuple(spans)


def named(model: Model, probabilities: np.ndarray) -> dict[str, float]:
  """{class: probability} in the model's order."""
  return dict(zip(model.classes, probabilities.tolist(), strict=True))
