"""Compute the log-mel of an audio file in constant memory and cut segments from it.

Decoding and front end are those of prepared sets (`data/audio.py`, `data/log_mel.py`), so a network
sees the input it was trained on. Silent stretches are left out
(`data/silence.py`). Where dB are relative to the maximum of the track, frames are kept
as mel power until the end of the file. Frames of long files are stored on disk.
"""

import dataclasses
import os
import pathlib
import tempfile
import weakref
from contextlib import nullcontext
from typing import Any

import numpy as np

from genre_jax.data import objects
from genre_jax.data.audio import UnreadableAudio
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import compress
from genre_jax.data.pipeline import segment_starts
from genre_jax.data.source import read_mel_power

# Shorter files are refused: 8 frames are 0.6 s at 12.9 frames per second.
MIN_FRAMES = 8
MIN_WAVEFORM_SECONDS = 0.5  # for networks that take the waveform
# 4 MB of 128 bands; 10 minutes at 12.9 frames per second.
MAX_FRAMES_IN_MEMORY = 1 << 13


class _FramesOnDisk:
  """Rows of a file of float32[rows, width], read on access and not kept in memory."""

  def __init__(self, path: pathlib.Path, width: int):
    self._file, self._width = open(path, "rb"), width
    self._rows = path.stat().st_size // (4 * width)
    path.unlink()  # the data remain until the open file is closed
    weakref.finalize(self, self._file.close)

  def __len__(self) -> int:
    return self._rows

  def __getitem__(self, rows: slice) -> np.ndarray:
    start, stop, _ = rows.indices(self._rows)
    self._file.seek(4 * start * self._width)
    raw = self._file.read(4 * max(0, stop - start) * self._width)
    return np.frombuffer(raw, np.float32).reshape(-1, self._width)


@dataclasses.dataclass(frozen=True)
class TrackLogMel:
  """Log-mel of one track, stored as mel power until segments are cut.

  Attributes:
    frontend: The front end that computed it.
    power: float32[sounding frames, n_mels], mel power; before `opened`, the path of a file on disk
      if the track is long.
    peak: Largest mel power of the track.
    samples: Length of the track, or of its excerpts, in samples at the front end's sample rate.
    sounding: int64[sounding frames], the numbers of these frames in the whole track.
    num_frames: Number of frames of the whole track, silence included.
    note: What of the file was damaged or missing; ''.
  """

  frontend: FrontendConfig
  power: np.ndarray | _FramesOnDisk | pathlib.Path
  peak: float
  samples: int
  sounding: np.ndarray
  num_frames: int
  note: str = ""

  @property
  def seconds(self) -> float:
    """Length of the track in seconds."""
    return self.samples / self.frontend.sample_rate

  @property
  def sounding_seconds(self) -> float:
    """Length of the parts with sound in seconds."""
    return self.seconds * len(self.sounding) / self.num_frames

  def opened(self) -> "TrackLogMel":
    """Return the same log-mel with its frames readable; deletes the name of a file on disk."""
    if not isinstance(self.power, pathlib.Path):
      return self
    return dataclasses.replace(self, power=_FramesOnDisk(self.power, self.frontend.n_mels))

  @property
  def _frames(self) -> np.ndarray | _FramesOnDisk:
    if isinstance(self.power, pathlib.Path):
      raise ValueError("the frames are on disk: call opened() first")
    return self.power

  def track_ranges(self, per_track: int) -> np.ndarray:
    """Return the segments whose mean is the track's prediction.

    Args:
      per_track: Number of segments, evenly spaced as in evaluation; 0 for adjacent segments.

    Returns:
      int[segments, 2], first and last (exclusive) index of `sounding`.
    """
    length = self.frontend.num_frames
    starts = segment_starts(len(self.sounding), length, per_track)
    return np.stack([starts, np.minimum(starts + length, len(self.sounding))], axis=1)

  def timeline_starts(self) -> np.ndarray:
    """Return the first frames of segments over the whole track that overlap by half, int[n].

    They are numbers of frames, silent ones included.
    """
    last = max(0, self.num_frames - self.frontend.num_frames)
    return np.arange(0, last + 1, max(1, self.frontend.num_frames // 2))

  def timeline_segment(self, start: int) -> tuple[int, int]:
    """Return the first and the last (exclusive) index of `sounding` in a segment of the timeline.

    Both are 0 if the segment is silent: if most of its middle half is, or if too few frames remain.

    Args:
      start: First frame, of `timeline_starts`.
    """
    length = self.frontend.num_frames
    end = min(start + length, self.num_frames)
    quarter = (end - start) // 4
    first, left, right, last = np.searchsorted(
      self.sounding, [start, start + quarter, end - quarter, end]
    )
    if 2 * (right - left) < end - start - 2 * quarter or last - first < _min_frames(self.frontend):
      return 0, 0
    return int(first), int(last)

  def segments(self, ranges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut log-mel segments from the frames that contain sound.

    Args:
      ranges: int[segments, 2], first and last (exclusive) index of `sounding`.

    Returns:
      float32[segments, num_frames, n_mels], and int[segments], the number of frames of each that
      are not padding.
    """
    pieces = [
      compress(self._frames[int(first) : int(last)], self.frontend, self.peak)
      for first, last in ranges
    ]
    return stack_segments(pieces, self.frontend.num_frames)


def stack_segments(pieces: list[np.ndarray], length: int) -> tuple[np.ndarray, np.ndarray]:
  """Stack segments, padding shorter ones with their own minimum as `data/pipeline.py` does.

  Args:
    pieces: float32[frames, n_mels] each, with at most `length` frames.
    length: Frames of a segment.

  Returns:
    float32[segments, length, n_mels], and int[segments], the number of frames of each that are not
    padding.
  """
  padded = [
    np.pad(piece, ((0, length - len(piece)), (0, 0)), constant_values=piece.min())
    for piece in pieces
  ]
  return np.stack(padded), np.array([len(piece) for piece in pieces])


def read_track_log_mel(
  path: str,
  frontend: FrontendConfig,
  folder: str,
  max_seconds: float = 0.0,
  digest: Any = None,
  excerpts: int = 0,
  urls: bool = False,
) -> TrackLogMel | str:
  """Compute the log-mel of a file; the unit of work of a worker process.

  Args:
    path: The audio file.
    frontend: The front end.
    folder: Folder for the frames of a long file, and for the copy of an object.
    max_seconds: A longer file is not used; 0 for no limit.
    digest, excerpts: As of `audio.read_blocks`.
    urls: Whether `path` may be a URL of `objects.PACKAGES`; not for paths that strangers give.

  Returns:
    The log-mel, or the reason why the file cannot be used.
  """
  try:
    remote = urls and objects.protocol(path)
    with objects.fetched(path, folder) if remote else nullcontext(path) as file:
      return _read(file, frontend, folder, max_seconds, digest, excerpts)
  except UnreadableAudio as error:
    return str(error)
  except OSError as error:
    return f"its frames cannot be stored in {folder}: {error.strerror or error}"
  except MemoryError:
    return "needs too much memory to decode"
  except Exception as error:  # a decoder's fault in one file must not end the others
    return f"{type(error).__name__}: {error}"


def _min_frames(frontend: FrontendConfig) -> int:
  """Return the smallest number of frames with sound that is classified."""
  if frontend.compression == "waveform":
    return round(MIN_WAVEFORM_SECONDS * frontend.frame_rate)
  return MIN_FRAMES


class _FrameStore:
  """Frames of a track, which move to a file in a folder when there are many."""

  def __init__(self, folder: str):
    self._folder = folder
    self.parts: list[np.ndarray] = []
    self.count = 0
    self.file: Any = None

  def clear(self) -> None:
    if self.file:
      self.file.close()
      os.unlink(self.file.name)
    self.parts, self.count, self.file = [], 0, None

  def append(self, frames: np.ndarray) -> None:
    self.count += len(frames)
    self.parts.append(frames)
    if self.count > MAX_FRAMES_IN_MEMORY or self.file:
      if self.file is None:
        self.file = tempfile.NamedTemporaryFile(dir=self._folder, suffix=".frames", delete=False)
      for part in self.parts:
        self.file.write(part.tobytes())
      self.parts = []


def _read(path, frontend, folder, max_seconds, digest, excerpts):
  store = _FrameStore(folder)
  notes: list[str] = []
  try:
    peak, cutter = read_mel_power(path, frontend, store, notes, max_seconds, digest, excerpts)
    if store.count < _min_frames(frontend):
      seconds = cutter.samples / frontend.sample_rate
      sound = sum(length for _, length in cutter.pieces) / frontend.sample_rate
      raise UnreadableAudio(
        f"is {seconds:.2f} s long"
        + (f", with sound in {sound:.2f} s" if sound < seconds - 0.01 else "")
        + ", too short to classify: give at least"
        f" {_min_frames(frontend) * frontend.seconds_per_frame:.2f} s"
      )
    # Frame j of the kept audio is centered on sample (j + 0.5) * length.
    length = frontend.sample_rate * frontend.seconds_per_frame
    centers = cutter.positions((np.arange(store.count) + 0.5) * length)
    num_frames = max(store.count, frontend.frames_of(cutter.samples))
    power = np.concatenate(store.parts) if store.file is None else pathlib.Path(store.file.name)
    if store.file:
      store.file.close()
    sounding = np.minimum((centers / length).astype(np.int64), num_frames - 1)
    return TrackLogMel(
      frontend, power, peak, cutter.samples, sounding, num_frames, "; ".join(notes)
    )
  except BaseException:
    store.clear()
    raise
