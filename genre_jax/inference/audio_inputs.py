"""Where live sound comes from: a microphone, standard input, a file.

Stands before `live.py`. A source is an iterator of blocks, float32[samples, channels] or
float32[samples], that gives each as soon as it is there.
"""

import os
import queue
import sys
import time
from collections.abc import Iterator

import numpy as np

from genre_jax.data.audio import UnreadableAudio, read_blocks
from genre_jax.errors import UserError

# Names as ffmpeg has them: type, and what is full scale.
SAMPLE_FORMATS = {
  "u8": ("u1", 128.0),
  "s16le": ("<i2", 2.0**15),
  "s32le": ("<i4", 2.0**31),
  "f32le": ("<f4", 1.0),
}
BLOCK_SECONDS = 0.05  # of a microphone and a file
PIPE_BYTES = 1 << 16  # read at once: what a pipe holds
# Blocks of a microphone that may wait: 30 s. A machine that is too slow loses the rest.
MOST_WAITING = 600


def file_blocks(path: str, sample_rate: int, *, speed: float = 0.0) -> Iterator[np.ndarray]:
  """A file's sound at `sample_rate` Hz.

  Args:
    path: anything that soundfile decodes.
    sample_rate: Hz of the result.
    speed: 1 as it would be heard; 0 as fast as it is taken.
  Raises:
    UserError: where it cannot be read, after what could.
  """
  begun, seconds = time.monotonic(), 0.0
  try:
    for block in read_blocks(path, sample_rate, block_seconds=BLOCK_SECONDS):
      seconds += len(block) / sample_rate
      if speed:
        time.sleep(max(0.0, begun + seconds / speed - time.monotonic()))
      yield block
  except UnreadableAudio as error:
    raise UserError(f"--source={path}: {error}") from error


def pipe_blocks(descriptor: int, sample_format: str, channels: int) -> Iterator[np.ndarray]:
  """Raw PCM from a file descriptor, until it is closed.

  Blocks have the lengths in which the bytes arrive; a sample that is cut by them is put together.
  What is no number becomes silence; bytes of no whole sample at the end are told of.
  """
  kind, full_scale = SAMPLE_FORMATS[sample_format]
  size = np.dtype(kind).itemsize * channels
  waiting, warned = b"", False
  while read := os.read(descriptor, PIPE_BYTES):
    waiting += read
    whole = len(waiting) // size * size
    values = np.frombuffer(waiting[:whole], kind).astype(np.float32)
    waiting = waiting[whole:]
    if sample_format == "u8":
      values -= 128
    values /= full_scale
    # A level beyond any sound is bytes of another format, and as useless as NaN.
    wrong = ~(np.abs(values) < 1e6)
    if wrong.any():
      values[wrong] = 0
      if not warned:
        print(
          f"notice: standard input holds samples that are no numbers or far too large; is it"
          f" {sample_format}? They are taken as silence",
          file=sys.stderr,
        )
        warned = True
    if whole:
      yield values.reshape(-1, channels)
  if waiting:
    print(
      f"notice: standard input ended with {len(waiting)} bytes of a sample of {size}; they are"
      " left out",
      file=sys.stderr,
    )


def microphone_blocks(device: str = "") -> tuple[Iterator[np.ndarray], int]:
  """The sound of a microphone, and its sample rate.

  Args:
    device: its number or a part of its name, as `python -m sounddevice` lists them; '' for the
      system's own.
  Raises:
    UserError: where there is no sounddevice package, no PortAudio or no microphone.
  """
  try:
    import sounddevice
  except ImportError as error:
    raise UserError(
      "--source=mic needs the package sounddevice: pip install sounddevice, or"
      " pip install '.[mic]' in the checkout"
    ) from error
  except OSError as error:  # the package is there, the library that it drives is not
    raise UserError(
      f"--source=mic: {error}; install PortAudio (Debian: apt install libportaudio2)"
    ) from error
  try:
    name = int(device) if device.isdigit() else device or None
    rate = int(sounddevice.query_devices(name, "input")["default_samplerate"])
    blocks: queue.Queue = queue.Queue(MOST_WAITING)
    lost = 0

    def heard(values, frames, when, status):
      nonlocal lost
      try:
        blocks.put_nowait(values.copy())
      except queue.Full:
        lost += 1

    stream = sounddevice.InputStream(
      samplerate=rate,
      device=name,
      channels=1,
      dtype="float32",
      blocksize=int(rate * BLOCK_SECONDS),
      callback=heard,
    )
    stream.start()
  except (sounddevice.PortAudioError, ValueError) as error:
    raise UserError(
      f"--source=mic: there is no microphone to use ({error}); `python -m"
      " sounddevice` lists what there is, --device=NUMBER chooses"
    ) from error

  def hear():
    try:
      while stream.active or not blocks.empty():
        try:
          yield blocks.get(timeout=0.5)
        except queue.Empty:
          continue
      print("notice: the microphone is gone", file=sys.stderr)
    finally:
      stream.close()
      if lost:
        print(
          f"notice: {lost * BLOCK_SECONDS:.1f} s of sound were lost: this machine is too slow"
          " for the model",
          file=sys.stderr,
        )

  return hear(), rate
