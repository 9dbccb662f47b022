"""A file becomes the frames that a network may be asked about, in constant memory.

The audio path is that of preparing (`data/clips.py`, `data/log_mel.py`), so that a network hears
what it was trained on. Where dB are relative to the loudest moment of a clip, frames are kept as
power until the end is known; those of a long file wait on disk.
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
from genre_jax.data.source import sound_blocks

# What is shorter says nothing: 0.6 s at 12.9 frames a second, an eighth of it for speech.
LEAST_FRAMES = 8
# Frames in memory: 17 MB of 128 bands, 42 minutes at 12.9 frames a second.
HELD_FRAMES = 1 << 15


class _OnDisk:
  """Rows of a file of float32[rows, width], read as they are asked for and not kept in memory."""

  def __init__(self, path: pathlib.Path, width: int):
    self._file, self._width = open(path, "rb"), width
    self._rows = path.stat().st_size // (4 * width)
    path.unlink()  # the open file keeps it
    weakref.finalize(self, self._file.close)

  def __len__(self) -> int:
    return self._rows

  def __getitem__(self, rows: slice) -> np.ndarray:
    start, stop, _ = rows.indices(self._rows)
    self._file.seek(4 * start * self._width)
    raw = self._file.read(4 * max(0, stop - start) * self._width)
    return np.frombuffer(raw, np.float32).reshape(-1, self._width)


@dataclasses.dataclass(frozen=True)
class Spectrum:
  """The kept frames of one file.

  Attributes:
    recipe: how it was heard.
    frames: float32[frames, n_mels], mel power; the path where they wait on disk until `opened`.
    peak: the largest mel power of the file.
    samples: of the file at the recipe's sample rate.
  """

  frontend: FrontendConfig
  frames: np.ndarray | _OnDisk | pathlib.Path
  peak: float
  samples: int

  @property
  def seconds(self) -> float:
    """Length of the file."""
    return self.samples / self.frontend.sample_rate

  def opened(self) -> "Spectrum":
    """The same with its frames at hand; a file on disk is gone when they are let go."""
    if not isinstance(self.frames, pathlib.Path):
      return self
    return dataclasses.replace(self, frames=_OnDisk(self.frames, self.frontend.n_mels))

  def track_starts(self, per_track: int) -> np.ndarray:
    """First frames of the windows that a track's answer is the mean of, as in evaluation."""
    return segment_starts(len(self.frames), self.frontend.num_frames, per_track)

  def timeline_starts(self) -> np.ndarray:
    """First frames of windows over the whole file, each half a window after the last."""
    room = max(0, len(self.frames) - self.frontend.num_frames)
    return np.arange(0, room + 1, max(1, self.frontend.num_frames // 2))

  def windows(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-mel windows.

    Args:
      starts: int[windows], first frames.
    Returns:
      float32[windows, num_frames, n_mels] and int[windows], how many frames are no padding.
    """
    length = self.frontend.num_frames
    powers = (self.frames[int(start) : int(start) + length] for start in starts)
    return stack_windows([compress(power, self.frontend, self.peak) for power in powers], length)


def stack_windows(pieces: list[np.ndarray], length: int) -> tuple[np.ndarray, np.ndarray]:
  """Windows of one length, the shorter ones padded with silence as far as they know it.

  As `data/pipeline.py` pads those of training.

  Args:
    pieces: float32[at most length, n_mels] each.
    length: frames of a window.
  Returns:
    float32[windows, length, n_mels] and int[windows], how many frames are no padding.
  """
  padded = [
    np.pad(piece, ((0, length - len(piece)), (0, 0)), constant_values=piece.min())
    for piece in pieces
  ]
  return np.stack(padded), np.array([len(piece) for piece in pieces])


def read_spectrum(path: str, frontend: FrontendConfig, folder: str) -> Spectrum | str:
  """The spectrum of a file, or why it cannot be had: the unit of work of a worker process.

  Args:
    path: of the file.
    recipe: how to hear it.
    folder: where the frames of a long file may wait.
  """
  try:
    return _read(path, frontend, folder)
  except UnreadableAudio as error:
    return str(error)
  except OSError as error:
    return f"its frames cannot be kept in {folder}: {error.strerror or error}"
  except Exception as error:  # whatever a decoder does with one file, the others are heard
    return f"{type(error).__name__}: {error}"


def _read(path, frontend, folder):
  stream = MelPowerStream(frontend)
  held, count, waiting = [], 0, None
  try:

    def keep(frames):
      nonlocal count, waiting
      count += len(frames)
      held.append(frames)
      if count > HELD_FRAMES or waiting:
        if waiting is None:
          waiting = tempfile.NamedTemporaryFile(dir=folder, suffix=".frames", delete=False)
        for part in held:
          waiting.write(part.tobytes())
        held.clear()

    for block in sound_blocks(path, frontend.sample_rate):
      keep(stream.push(block))
    keep(stream.flush())
    if count < LEAST_FRAMES:
      raise UnreadableAudio(
        f"is {stream.samples / frontend.sample_rate:.2f} s long, too short to be judged: give at"
        f" least {LEAST_FRAMES * frontend.seconds_per_frame:.2f} s"
      )
    if waiting:
      waiting.close()
      return Spectrum(frontend, pathlib.Path(waiting.name), stream.peak, stream.samples)
    return Spectrum(frontend, np.concatenate(held), stream.peak, stream.samples)
  except BaseException:
    if waiting:
      waiting.close()
      os.unlink(waiting.name)
    raise
