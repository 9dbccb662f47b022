"""Read live audio from a microphone, standard input or a file.

Each function returns an iterator of blocks, float32[samples, channels] or float32[samples], which
gives a block as soon as it is available.
"""

import io
import os
import queue
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from genre_jax.data.audio import UnreadableAudio, read_blocks
from genre_jax.data.recognize import SNIFFED_BYTES, sound_format
from genre_jax.errors import UserError, missing_extra

# {name in ffmpeg: (NumPy type, full scale)}.
SAMPLE_FORMATS = {
  "u8": ("u1", 128.0),
  "s16le": ("<i2", 2.0**15),
  "s32le": ("<i4", 2.0**31),
  "f32le": ("<f4", 1.0),
}
BLOCK_SECONDS = 0.05  # microphone and file
PIPE_BYTES = 1 << 16  # per read: the capacity of a pipe on Linux
LARGEST_SAMPLE = 1e6  # larger values mean that the bytes have another format
# Blocks of a microphone that wait for processing: 30 s. Later blocks are dropped.
MAX_WAITING_BLOCKS = 600


class _Pipe(io.RawIOBase):
  """A file descriptor from which some bytes have been read already.

  Args:
    head: These bytes.
    descriptor: The file descriptor.
  """

  def __init__(self, head: bytes, descriptor: int):
    self._head, self._descriptor = head, descriptor

  def readable(self) -> bool:
    return True

  def readinto(self, buffer) -> int:
    """Read what is available, at most len(buffer) bytes; 0 at the end."""
    data = self._head[: len(buffer)] or os.read(self._descriptor, len(buffer))
    self._head = self._head[len(buffer) :]
    buffer[: len(data)] = data
    return len(data)


def copy_standard_input(folder: str) -> str:
  """Copy standard input to a file in a folder; return its path."""
  path = os.path.join(folder, "standard_input")
  try:
    with open(path, "wb") as file:
      shutil.copyfileobj(sys.stdin.buffer, file)
  except OSError as error:
    raise UserError(f"-: standard input cannot be stored in {folder}: {error.strerror}") from error
  return path


def standard_input_blocks(
  descriptor: int, sample_format: str, channels: int, sample_rate: int, is_pcm: bool
) -> tuple[Iterator[np.ndarray], bool]:
  """Read a sound file or raw PCM from a file descriptor, whichever its first bytes show.

  Args:
    descriptor: The file descriptor.
    sample_format: A key of SAMPLE_FORMATS, for raw PCM.
    channels: Number of interleaved channels of raw PCM.
    sample_rate: Hz of the blocks of a sound file.
    is_pcm: True if the caller said that it is raw PCM; then only long signatures of sound files are
      trusted, and not those of two bytes.

  Returns:
    An iterator of blocks, and True if they are those of a decoded file, as of `file_blocks`.
  """
  head = b""
  while len(head) < SNIFFED_BYTES and (read := os.read(descriptor, SNIFFED_BYTES - len(head))):
    head += read
  found = sound_format(head)
  if not found or (is_pcm and found == "MPEG"):
    return pipe_blocks(_Pipe(head, descriptor), sample_format, channels), False
  print(f"notice: standard input is a sound file ({found}); it is decoded", file=sys.stderr)
  pipe = _Pipe(head, descriptor)
  if found in ("MP4", "CAF"):  # what describes the audio may be at the end
    whole = tempfile.TemporaryFile()
    shutil.copyfileobj(pipe, whole)
    whole.seek(0)
    return file_blocks(whole, sample_rate, name="-"), True
  return file_blocks(pipe, sample_rate, name="-"), True


def file_blocks(
  path: str | BinaryIO | io.RawIOBase, sample_rate: int, *, speed: float = 0.0, name: str = ""
) -> Iterator[np.ndarray]:
  """Decode an audio file block by block.

  Args:
    path: An audio file, or an open one.
    sample_rate: Hz of the blocks.
    speed: Speed relative to real time; 0 for as fast as possible.
    name: Name for messages, if it is not the path.

  Yields:
    float32[samples], mono.

  Raises:
    UserError: If the file cannot be decoded; after the blocks before the fault.
  """
  start, seconds = time.monotonic(), 0.0
  notes: list[str] = []
  try:
    for block in read_blocks(path, sample_rate, block_seconds=BLOCK_SECONDS, notes=notes):
      seconds += len(block) / sample_rate
      if speed:
        time.sleep(max(0.0, start + seconds / speed - time.monotonic()))
      yield block
  except UnreadableAudio as error:
    raise UserError(f"--source={name or path}: {error}") from error
  for note in notes:
    print(f"notice: --source={name or path}: {note}", file=sys.stderr)


def pipe_blocks(pipe: io.RawIOBase, sample_format: str, channels: int) -> Iterator[np.ndarray]:
  """Read raw PCM from a pipe until it is closed.

  NaN and values beyond LARGEST_SAMPLE become 0, with a notice on standard error. An incomplete
  sample at the end is dropped, with a notice.

  Args:
    pipe: An open pipe, not buffered.
    sample_format: A key of SAMPLE_FORMATS.
    channels: Number of interleaved channels.

  Yields:
    float32[samples, channels], of the lengths in which the bytes arrive.
  """
  dtype, full_scale = SAMPLE_FORMATS[sample_format]
  size = np.dtype(dtype).itemsize * channels
  waiting, warned = b"", False
  while read := pipe.read(PIPE_BYTES):
    waiting += read
    whole = len(waiting) // size * size
    values = np.frombuffer(waiting[:whole], dtype).astype(np.float32)
    waiting = waiting[whole:]
    if sample_format == "u8":
      values -= 128
    values /= full_scale
    invalid = ~(np.abs(values) < LARGEST_SAMPLE)
    if invalid.any():
      values[invalid] = 0
      if not warned:
        print(
          "notice: standard input contains samples that are NaN or too large; check that the format"
          f" is {sample_format}. They are replaced by silence",
          file=sys.stderr,
        )
        warned = True
    if whole:
      yield values.reshape(-1, channels)
  if waiting:
    print(
      f"notice: standard input ended with {len(waiting)} bytes of a sample of {size} bytes; they"
      " are dropped",
      file=sys.stderr,
    )


def microphone_blocks(device: str = "") -> tuple[Iterator[np.ndarray], int]:
  """Open a microphone.

  Args:
    device: Number or part of the name of an input device, as `python -m sounddevice` lists them; ''
      for the default device of the system.

  Returns:
    An iterator of float32[samples, 1], and the sample rate in Hz.

  Raises:
    UserError: If sounddevice, PortAudio or the microphone is missing.
  """
  try:
    import sounddevice
  except ImportError as error:
    raise missing_extra("--source=mic", "sounddevice", "mic") from error
  except OSError as error:  # sounddevice is installed, but PortAudio is not
    raise UserError(
      f"--source=mic: {error}; install PortAudio (Debian: apt install libportaudio2)"
    ) from error
  try:
    name = int(device) if device.isdigit() else device or None
    rate = int(sounddevice.query_devices(name, "input")["default_samplerate"])
    waiting: queue.Queue = queue.Queue(MAX_WAITING_BLOCKS)
    dropped = 0

    def record(values, frames, time_info, status):
      nonlocal dropped
      try:
        waiting.put_nowait(values.copy())
      except queue.Full:
        dropped += 1

    stream = sounddevice.InputStream(
      samplerate=rate,
      device=name,
      channels=1,
      dtype="float32",
      blocksize=int(rate * BLOCK_SECONDS),
      callback=record,
    )
    stream.start()
  except (sounddevice.PortAudioError, ValueError) as error:
    raise UserError(
      f"--source=mic: no usable microphone ({error}); `python -m sounddevice` lists the devices,"
      " --device=NUMBER selects one"
    ) from error

  def blocks():
    try:
      while stream.active or not waiting.empty():
        try:
          yield waiting.get(timeout=0.5)
        except queue.Empty:
          continue
      print("notice: the microphone was disconnected", file=sys.stderr)
    finally:
      stream.close()
      if dropped:
        print(
          f"notice: {dropped * BLOCK_SECONDS:.1f} s of audio were dropped: this machine is too slow"
          " for the model",
          file=sys.stderr,
        )

  return blocks(), rate
