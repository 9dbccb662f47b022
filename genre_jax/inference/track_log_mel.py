"""Compute the log-mel of an audio file in constant memory and cut segments from it.

Decoding and front end are those of prepared sets (`data/audio.py`, `data/log_mel.py`), so a network
sees the input it was trained on. Where dB are relative to the maximum of the track, frames are kept
as mel power until the end of the file. Frames of long files are stored on disk.
"""

import dataclasses
import os
import pathlib
import tempfile
import weakref

import numpy as np

from genre_jax.data.audio import UnreadableAudio
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import MelPowerStream, compress
from genre_jax.data.pipeline import segment_starts
from genre_jax.data.source import checked_blocks

# Shorter files are refused: 8 frames are 0.6 s at 12.9 frames per second.
MIN_FRAMES = 8
# 17 MB of 128 bands; 42 minutes at 12.9 frames per second.
MAX_FRAMES_IN_MEMORY = 1 << 15


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
    power: float32[frames, n_mels], mel power of the kept frames; before `opened`, the path of a
      file on disk if the track is long.
    peak: Largest mel power of the track.
    samples: Length of the track in samples at the front end's sample rate.
  """

  frontend: FrontendConfig
  power: np.ndarray | _FramesOnDisk | pathlib.Path
  peak: float
  samples: int

  @property
  def seconds(self) -> float:
    """Length of the track in seconds."""
    return self.samples / self.frontend.sample_rate

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

  def track_starts(self, per_track: int) -> np.ndarray:
    """Return the first frames of the segments whose mean is the track's prediction.

    Args:
      per_track: Number of segments, evenly spaced as in evaluation; 0 for adjacent segments.

    Returns:
      int[segments].
    """
    return segment_starts(len(self._frames), self.frontend.num_frames, per_track)

  def timeline_starts(self) -> np.ndarray:
    """Return the first frames of segments over the whole track that overlap by half, int[n]."""
    last = max(0, len(self._frames) - self.frontend.num_frames)
    return np.arange(0, last + 1, max(1, self.frontend.num_frames // 2))

  def segments(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut log-mel segments.

    Args:
      starts: int[segments], first frames.

    Returns:
      float32[segments, num_frames, n_mels], and int[segments], the number of frames of each that
      are not padding.
    """
    length = self.frontend.num_frames
    pieces = (self._frames[int(start) : int(start) + length] for start in starts)
    return stack_segments([compress(piece, self.frontend, self.peak) for piece in pieces], length)


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


def read_track_log_mel(path: str, frontend: FrontendConfig, folder: str) -> TrackLogMel | str:
  """Compute the log-mel of a file; the unit of work of a worker process.

  Args:
    path: The audio file.
    frontend: The front end.
    folder: Folder for the frames of a long file.

  Returns:
    The log-mel, or the reason why the file cannot be used.
  """
  try:
    return _read(path, frontend, folder)
  except UnreadableAudio as error:
    return str(error)
  except OSError as error:
    return f"its frames cannot be stored in {folder}: {error.strerror or error}"
  except Exception as error:  # a decoder's fault in one file must not end the others
    return f"{type(error).__name__}: {error}"


def _read(path, frontend, folder):
  stream = MelPowerStream(frontend)
  parts, count, file = [], 0, None
  try:

    def keep(frames):
      nonlocal count, file
      count += len(frames)
      parts.append(frames)
      if count > MAX_FRAMES_IN_MEMORY or file:
        if file is None:
          file = tempfile.NamedTemporaryFile(dir=folder, suffix=".frames", delete=False)
        for part in parts:
          file.write(part.tobytes())
        parts.clear()

    for block in checked_blocks(path, frontend.sample_rate):
      keep(stream.push(block))
    keep(stream.flush())
    if count < MIN_FRAMES:
      raise UnreadableAudio(
        f"is {stream.samples / frontend.sample_rate:.2f} s long, too short to classify: give at"
        f" least {MIN_FRAMES * frontend.seconds_per_frame:.2f} s"
      )
    if file:
      file.close()
      return TrackLogMel(frontend, pathlib.Path(file.name), stream.peak, stream.samples)
    return TrackLogMel(frontend, np.concatenate(parts), stream.peak, stream.samples)
  except BaseException:
    if file:
      file.close()
      os.unlink(file.name)
    raise
