"""What a source is: clips with labels and groups, and a reader that turns one clip into log-mel.

Sources (gtzan, audio_folder, spoken_digits, ...) say what there is by returning a `Source`; splits
and preparing look at nothing else. A new source is one file `NAME.py` in this folder with a
function `open_NAME(request)` that returns one.
"""

import csv
import dataclasses
import hashlib
import json
import os
from typing import Protocol

import numpy as np

from genre_jax.data import audio, log_mel
from genre_jax.data.recipe import Recipe
from genre_jax.errors import UserError


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
    unknown: classes of which nobody has said whether they apply; neither learnt nor asked.
  """

  track: str
  group: str
  labels: tuple[str, ...]
  path: str = ""
  index: int = 0
  has_group: bool = True
  side: str = ""
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
  recipe: Recipe | None = None
  seed: int = 0
  cache_dir: str = ""
  task: str = "single_label"

  @property
  def flag(self) -> str:
    """How messages name the path."""
    return f"--config.dataset.path={self.path}"


STAMPED_BYTES = 4096  # of a file's beginning and of its end
LOUDEST = 1e9  # samples of sound are within 1; far beyond 1e15 their power overflows float32


class Reader(Protocol):
  """Turns clips into log-mel: a small frozen dataclass, so that it travels to worker processes."""

  def log_mel(self, clip: Clip, recipe: Recipe) -> np.ndarray:
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

  def log_mel(self, clip: Clip, recipe: Recipe) -> np.ndarray:
    """float32[frames, n_mels] of one clip; raises UnreadableAudio with the reason."""
    return self.reader.log_mel(clip, recipe)

  def fingerprint(self) -> str:
    """Hash of everything about the material that determines a prepared set; not where it lies."""
    # What most sources leave empty is left out, so that their prepared sets keep their names.
    clips = [
      [clip.track, clip.group, clip.labels, clip.index, clip.has_group]
      + ([clip.side, clip.unknown] if clip.side or clip.unknown else [])
      for clip in self.clips
    ]
    about = [self.name, self.classes, self.identity, repr(self.reader), self.skipped, clips]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class AudioFileReader:
  """Reads clips that are audio files."""

  def log_mel(self, clip: Clip, recipe: Recipe) -> np.ndarray:
    """Log-mel of the whole file; a silent one is unreadable, for nothing can be learnt from it."""
    return log_mel.log_mel_blocks(sound_blocks(clip.path, recipe.sample_rate), recipe)


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


def file_stamps(named_paths) -> str:
  """Hash over name, size, time of last change, beginning and end of files.

  For `Source.identity`. Times alone are not enough: archives and images are unpacked with fixed
  ones.
  """
  digest = hashlib.sha256()
  for name, path in named_paths:
    try:
      with open(path, "rb") as file:
        stat = os.stat(file.fileno())
        digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        digest.update(file.read(STAMPED_BYTES))
        file.seek(max(stat.st_size - STAMPED_BYTES, 0))
        digest.update(file.read(STAMPED_BYTES))
    except OSError:
      digest.update(f"{name}\0missing\n".encode())
  return digest.hexdigest()


def list_files(folder, depth):
  """Sorted files below a folder as (relative path, path), at most `depth` folders down, hidden ones
  left out.

  Symbolic links are followed; the depth bounds loops, and a file that is reached by several names
  counts once, by its own name if that is among them. Names that are not UTF-8 are escaped.
  """
  files: dict[str, tuple[str, str]] = {}
  for name, path in _walk(folder, depth):
    real = os.path.realpath(path)
    if real not in files or real == path:
      files[real] = name, path
  return sorted(
    (name.encode("utf-8", "backslashreplace").decode(), path) for name, path in files.values()
  )


def _walk(folder, depth):
  """Yields (relative path, absolute path) of the files that `list_files` is to sift."""
  try:
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
  except OSError as error:
    raise UserError(
      f"--config.dataset.path={folder}: cannot be listed: {error.strerror}."
    ) from error
  for entry in entries:
    if entry.name.startswith("."):
      continue
    if entry.is_dir():
      if depth > 0:
        for name, path in _walk(entry.path, depth - 1):
          yield f"{entry.name}/{name}", path
    else:
      yield entry.name, os.path.abspath(entry.path)


def is_audio_name(name):
  """Whether a file name ends as audio files do."""
  return name.lower().endswith(audio.EXTENSIONS)


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


def tidy_groups(cell: str) -> str:
  """The group of a table's cell; several, joined by ';', without spaces around them or gaps."""
  return ";".join(filter(None, (name.strip() for name in cell.split(";"))))


def read_groups(path: str) -> dict[str, str]:
  """The table of config.dataset.groups: a CSV with the columns file and group, as {file: group}."""
  groups = {}
  try:
    with open(path, newline="", encoding="utf-8-sig") as file:
      rows = csv.DictReader(file)
      if not {"file", "group"} <= set(rows.fieldnames or ()):
        raise UserError(
          f"--config.dataset.groups={path}: the first line must name the columns file and group, "
          f"it is {','.join(rows.fieldnames or ())!r}."
        )
      for row in rows:
        name, group = (row["file"] or "").strip(), tidy_groups(row["group"] or "")
        if not name or not group:
          raise UserError(
            f"--config.dataset.groups={path}, line {rows.line_num}: file or group is empty."
          )
        name = os.path.normpath(name).replace(os.sep, "/")
        if groups.setdefault(name, group) != group:
          raise UserError(
            f"--config.dataset.groups={path}, line {rows.line_num}: {name} has two groups, "
            f"{groups[name]} and {group}."
          )
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise UserError(f"--config.dataset.groups={path}: cannot be read: {error}.") from error
  return groups


def grouped(clips, groups: dict[str, str], path: str):
  """Clips with the groups of a table put in; a file is found by its path, file name, or track.

  A clip that the table does not list keeps the group that its source knows.

  Returns:
    (clips, notes)
  """
  used, result, kept = set(), [], 0
  for clip in clips:
    base = os.path.basename(clip.path or clip.track)
    names = (clip.track, base, os.path.splitext(base)[0], "/".join(clip.path.split(os.sep)[-2:]))
    name = next((name for name in names if name in groups), None)
    used.add(name)
    if name is None:
      result.append(
        clip if clip.has_group else dataclasses.replace(clip, group=f"track:{clip.track}")
      )
      kept += clip.has_group
    else:
      result.append(dataclasses.replace(clip, group=groups[name], has_group=True))
  if groups and not used - {None}:
    raise UserError(
      f"--config.dataset.groups={path}: none of its {len(groups)} files is among the "
      "clips. Give paths "
      f"relative to the folder, such as {clips[0].track if clips else 'GENRE/FILE'}."
    )
  notes = []
  if missing := len(groups) - len(used - {None}):
    notes.append(f"{missing} lines of {path} name no clip that is used")
  if kept:
    notes.append(f"{kept} clips are not in {path}; each keeps the group that it had")
  if alone := sum(not clip.has_group for clip in result):
    notes.append(f"{alone} clips are not in {path}; each counts as a group of its own")
  return result, notes
