"""What a source is: clips with labels and groups, and a reader that turns one clip into log-mel.

Sources (gtzan, audio_folder, spoken_digits, ...) say what there is by returning a `Source`; splits
and preparing look at nothing else. A new source is one file `NAME.py` in this folder with a
function `open_NAME(request)` that returns one.
"""

import dataclasses
import hashlib
import json
from typing import Protocol

import numpy as np

from genre_jax.data import audio, log_mel
from genre_jax.data.frontend import FrontendConfig
from genre_jax.errors import UserError

TASKS = ("single_label", "multi_label")


@dataclasses.dataclass(frozen=True)
class Clip:
  """One recording.

  Attributes:
    track: its name, unique in the source.
    group: the recording, artist or speaker that must stay on one side of a split; several are
      joined by ';'.
    labels: names of its classes.
    path: file that holds it; empty where there is none.
    index: row of an archive or number in a generated corpus.
    has_group: False where the group is unknown and the track stands for it.
    side: 'train', 'valid' or 'test' of the material's own split; '' where it has none.
    unknown: classes of which nobody has said whether they apply; neither learned nor asked.
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
  """What a config asks of a source; each reads what concerns it.

  Attributes:
    path: file or folder; '' where the config names none.
    genres: '' for the source's default, 'all', or a comma list.
    groups: CSV with the columns file and group, which goes before what the source knows itself.
    subset: a part that the source names, such as 'small'; '' for all.
    clip_seconds: length of the clips of a mel_archive.
    recipe: if given, a mel_archive is checked against it.
    seed: of what a source makes up itself: the built-in corpus, mixtures.
    cache_dir: where GTZAN is downloaded and unpacked; '' for the user's cache.
    task: 'single_label', or 'multi_label', to which clips of no chosen genre are of use too.
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
    """How messages name the path."""
    return f"--config.dataset.path={self.path}"


LOUDEST = 1e9  # samples of sound are within 1; far beyond 1e15 their power overflows float32


class Reader(Protocol):
  """Turns clips into log-mel: a small frozen dataclass, so that it travels to worker processes."""

  def log_mel(self, clip: Clip, frontend: FrontendConfig) -> np.ndarray:
    """float32[frames, n_mels] of one clip; raises UnreadableAudio with the reason."""


@dataclasses.dataclass(frozen=True)
class Source:
  """What clips exist, and how one is read.

  Attributes:
    name: kind of source.
    classes: class names in the order of the label vector.
    clips: sorted by track.
    reader: reads one clip; pure and picklable, and small, unlike the list of clips.
    identity: what else determines the content, such as sizes and times of files.
    notes: lines for the user: what was found, counted and left out.
    skipped: (name, reason) of material left out when the source was opened.
  """

  name: str
  classes: tuple[str, ...]
  clips: tuple[Clip, ...]
  reader: Reader
  identity: str
  notes: tuple[str, ...] = ()
  skipped: tuple[tuple[str, str], ...] = ()

  def log_mel(self, clip: Clip, frontend: FrontendConfig) -> np.ndarray:
    """float32[frames, n_mels] of one clip; raises UnreadableAudio with the reason."""
    return self.reader.log_mel(clip, frontend)

  def fingerprint(self) -> str:
    """Hash of everything about the material that determines a prepared set; not where it lies."""
    # What most sources leave empty is left out, so that their prepared sets keep their names.
    clips = [
      [clip.track, clip.group, clip.labels, clip.index, clip.has_group]
      + ([clip.split, clip.unknown] if clip.split or clip.unknown else [])
      for clip in self.clips
    ]
    metadata = [self.name, self.classes, self.identity, repr(self.reader), self.skipped, clips]
    return hashlib.sha256(json.dumps(metadata).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class AudioFileReader:
  """Reads clips that are audio files."""

  def log_mel(self, clip: Clip, frontend: FrontendConfig) -> np.ndarray:
    """Log-mel of the whole file; a silent one is unreadable, for nothing can be learned from it."""
    return log_mel.log_mel_blocks(sound_blocks(clip.path, frontend.sample_rate), frontend)


def sound_blocks(path, sample_rate):
  """The blocks of a file, as `audio.read_blocks`, of which it is known at the end that they sound.

  Raises:
    UnreadableAudio: as `read_blocks`, and for a file that is silent or too loud to compute with.
  """
  peak = 0.0
  for block in audio.read_blocks(path, sample_rate):
    peak = max(peak, float(np.max(np.abs(block))))
    if peak > LOUDEST:
      raise audio.UnreadableAudio(f"is too loud to compute with: samples reach {peak:.0e}")
    yield block
  check_sound(peak)


def check_sound(peak):
  """Raises UnreadableAudio if the largest sample of a clip is no sound."""
  if peak < audio.SILENT_PEAK:
    raise audio.UnreadableAudio(
      "is silent: the mean of its channels reaches no step of 16-bit audio anywhere"
    )


def choose_classes(genres: str, found, default=()) -> tuple[str, ...]:
  """The classes that config.dataset.genres asks for.

  Args:
    genres: '' for the default, 'all', or a comma list, whose order is kept.
    found: the names that the material has.
    default: what '' means; where empty, every name found, sorted.
  """
  found = sorted(set(found))
  there = f"There are: {', '.join(found) or 'none'}."
  if genres.strip() == "all" or (not genres.strip() and not default):
    return tuple(found)
  if not genres.strip():
    missing = [name for name in default if name not in found]
    if missing:
      raise UserError(
        f"--config.dataset.genres is empty, which means {', '.join(default)} for "
        "GTZAN material, but there is "
        f"no {', '.join(missing)}. {there} Use --config.dataset.genres=all or name those you want."
      )
    return tuple(default)
  wanted = [name.strip() for name in genres.split(",") if name.strip()]
  for name in wanted:
    if name not in found:
      raise UserError(f"--config.dataset.genres={genres}: there is no genre {name!r}. {there}")
  if len(set(wanted)) < len(wanted):
    raise UserError(f"--config.dataset.genres={genres}: a genre is named twice.")
  if not wanted:
    raise UserError(f"--config.dataset.genres={genres!r}: no genre is named. {there}")
  return tuple(wanted)
