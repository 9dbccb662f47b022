"""Types of a source: clips with labels and groups, and a reader from a clip to log-mel.

A source (gtzan, audio_folder, spoken_digits, ...) lists its clips in a `Source`. Splits and
prepared sets use nothing else. A new source is one module `sources/NAME.py` with a function
`open_NAME(request)` that returns a `Source`.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from genre_jax.data import audio, log_mel
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.silence import SILENT_PEAK, SilenceCutter
from genre_jax.errors import UserError

TASKS = ("single_label", "multi_label")
SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Clip:
  """One item of a source: a track, or the excerpt of a track that the dataset contains.

  Attributes:
    track: Name of the track, unique in the source.
    group: Recording, artist or speaker that must stay in one split; several are joined by ';'.
    labels: Names of its classes.
    path: Audio file; '' if the clip is not a file.
    index: Row of an archive, or number in a generated corpus.
    has_group: False if the group is unknown; then `group` is made from the track's name.
    split: 'train', 'validation' or 'test' in the dataset's official split; '' if it has none.
    unknown: Classes for which it is unknown whether they apply; excluded from the loss and from
      evaluation.
  """

  track: str
  group: str
  labels: tuple[str, ...]
  path: str = ""
  index: int = 0
  has_group: bool = True
  split: str = ""
  unknown: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Request:
  """Options of a source from the config; each source reads those that concern it.

  Attributes:
    path: File or folder; '' if the config names none.
    genres: '' for the source's default, 'all', or a comma-separated list.
    groups: CSV file with the columns file and group; it overrides the source's own groups.
    subset: Part of the dataset, such as 'small'; '' for all.
    clip_seconds: Length of the clips of a mel_archive.
    frontend: If given, a mel_archive is checked against it.
    seed: Seed of generated clips: the built-in corpus and mixtures.
    cache_dir: Folder for the download and the unpacked files of GTZAN; '' for the user's cache.
    task: 'single_label' or 'multi_label'. With 'multi_label', clips that have none of the chosen
      labels are kept.
  """

  path: str = ""
  genres: str = ""
  groups: str = ""
  subset: str = ""
  clip_seconds: float = 30.0
  frontend: FrontendConfig | None = None
  seed: int = 0
  cache_dir: str = ""
  task: str = "single_label"

  @property
  def flag(self) -> str:
    """Flag and value that messages name."""
    return f"--config.dataset.path={self.path}"


class Reader(Protocol):
  """Reader from clips to log-mel: a small frozen dataclass that is sent to worker processes."""

  def log_mel(self, clip: Clip, frontend: FrontendConfig) -> np.ndarray:
    """Return the log-mel of one clip.

    Args:
      clip: A clip of the source.
      frontend: Front end.

    Returns:
      float32[frames, n_mels].

    Raises:
      UnreadableAudio: If the clip cannot be used; it contains the reason.
    """


@dataclasses.dataclass(frozen=True)
class Source:
  """Clips of a dataset and their reader.

  Attributes:
    name: Name of the source.
    classes: Class names, in the order of the label vector.
    clips: Clips, sorted by track.
    reader: Reader of one clip; free of side effects, picklable and small.
    identity: Text that determines the content further, such as sizes and times of files.
    notes: Lines for the user: counts, and what was left out.
    skipped: (name, reason) of items that were left out when the source was opened.
  """

  name: str
  classes: tuple[str, ...]
  clips: tuple[Clip, ...]
  reader: Reader
  identity: str
  notes: tuple[str, ...] = ()
  skipped: tuple[tuple[str, str], ...] = ()

  def log_mel(self, clip: Clip, frontend: FrontendConfig) -> np.ndarray:
    """Return the log-mel of one clip; see `Reader.log_mel`."""
    return self.reader.log_mel(clip, frontend)

  def fingerprint(self) -> str:
    """Return a hash of all that determines a prepared set, except the location of the files."""
    # Fields that most sources leave empty are omitted if empty: names of prepared sets stay valid.
    clips = [
      [clip.track, clip.group, clip.labels, clip.index, clip.has_group]
      + ([clip.split, clip.unknown] if clip.split or clip.unknown else [])
      for clip in self.clips
    ]
    metadata = [self.name, self.classes, self.identity, repr(self.reader), self.skipped, clips]
    return hashlib.sha256(json.dumps(metadata).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class AudioFileReader:
  """Reader of clips that are audio files."""

  def log_mel(self, clip: Clip, frontend: FrontendConfig) -> np.ndarray:
    """Return the log-mel of the parts with sound; a silent file raises UnreadableAudio."""
    parts: list[np.ndarray] = []
    peak, _ = read_mel_power(clip.path, frontend, parts)
    return log_mel.compress(np.concatenate(parts), frontend, peak)


class Frames(Protocol):
  """A list of float32[frames, n_mels], in memory or on disk."""

  def append(self, frames: np.ndarray, /) -> None:
    """Add frames."""

  def clear(self) -> None:
    """Remove all frames."""


def read_mel_power(
  path: str | os.PathLike,
  frontend: FrontendConfig,
  frames: Frames,
  notes: list[str] | None = None,
  max_seconds: float = 0.0,
  digest: Any = None,
  excerpts: int = 0,
) -> tuple[float, SilenceCutter]:
  """Compute the mel power of a file without its silent stretches.

  Args:
    path: Audio file.
    frontend: Front end.
    frames: Gets the frames.
    notes: As of `audio.read_blocks`.
    max_seconds: A longer file is not read; 0 for no limit.
    digest, excerpts: As of `audio.read_blocks`.

  Returns:
    The largest mel power, and the cutter, which knows the length of the file and what was kept.

  Raises:
    UnreadableAudio: As `audio.read_blocks`, and for a file that is silent or too long.
  """
  loudest = 0.0
  while True:
    stream, cutter = log_mel.MelPowerStream(frontend), SilenceCutter(frontend.sample_rate, loudest)
    peak = 0.0
    for block in audio.read_blocks(
      path,
      frontend.sample_rate,
      notes=notes,
      cutter=cutter,
      max_seconds=max_seconds,
      digest=None if loudest else digest,  # once, however often the file is read
      excerpts=excerpts,
    ):
      peak = max(peak, float(np.max(np.abs(block))))
      frames.append(stream.push(block))
    check_not_silent(peak)
    frames.append(stream.flush())
    # What is quiet in comparison with later audio is cut in a second reading.
    if loudest or not cutter.misses_silence():
      return stream.peak, cutter
    loudest = cutter.loudest
    frames.clear()
    if notes:
      notes.clear()


def check_not_silent(peak: float) -> None:
  """Raise UnreadableAudio if the largest sample of a clip is below one step of 16-bit audio."""
  if peak < SILENT_PEAK:
    raise audio.UnreadableAudio("is silent: it stays below one step of 16-bit audio")


def label_vectors(clip: Clip, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
  """Return the label vector of a clip and its mask.

  Returns:
    (float32[classes], float32[classes]): 1 for each positive label; 1 for each known label.
  """
  return (
    np.array([name in clip.labels for name in classes], np.float32),
    np.array([name not in clip.unknown for name in classes], np.float32),
  )


def choose_classes(
  genres: str, found: Iterable[str], default: Sequence[str] = ()
) -> tuple[str, ...]:
  """Return the classes that config.dataset.genres selects.

  Args:
    genres: '' for the default, 'all', or a comma-separated list, whose order is kept.
    found: Label names of the dataset.
    default: Meaning of ''; if empty, '' selects all names, sorted.

  Raises:
    UserError: If a name does not exist, is repeated, or none is given.
  """
  names = sorted(set(found))
  available = f"There are: {', '.join(names) or 'none'}."
  if genres.strip() == "all" or (not genres.strip() and not default):
    return tuple(names)
  if not genres.strip():
    missing = [name for name in default if name not in names]
    if missing:
      raise UserError(
        f"--config.dataset.genres is empty, which means {', '.join(default)} for "
        f"GTZAN, but there is no {', '.join(missing)}. {available} Use --config.dataset.genres=all "
        "or name those you want."
      )
    return tuple(default)
  wanted = [name.strip() for name in genres.split(",") if name.strip()]
  for name in wanted:
    if name not in names:
      raise UserError(f"--config.dataset.genres={genres}: there is no genre {name!r}. {available}")
  if len(set(wanted)) < len(wanted):
    raise UserError(f"--config.dataset.genres={genres}: a genre is named twice.")
  if not wanted:
    raise UserError(f"--config.dataset.genres={genres!r}: no genre is named. {available}")
  return tuple(wanted)
