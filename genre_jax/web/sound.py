"""Give browsers sound that they can play: the file itself, or WAV that is decoded from it."""

import collections
import concurrent.futures
import os
import tempfile
import wave

import numpy as np

from genre_jax.data.audio import UnreadableAudio, read_blocks
from genre_jax.data.isolated_calls import IsolatedCalls
from genre_jax.data.recognize import SNIFFED_BYTES, sound_format
from genre_jax.errors import UserError

# Formats that browsers play themselves, by content.
MEDIA_TYPES = {
  "FLAC": "audio/flac",
  "MP3": "audio/mpeg",
  "MP4": "audio/mp4",
  "MPEG": "audio/mpeg",
  "Ogg": "audio/ogg",
  "WAVE": "audio/wav",
}
DECODED_RATE = 44100  # Hz
MAX_DECODED_SECONDS = 2 * 3600.0  # 635 MB
MAX_DECODED_FILES = 4
FILE_SECONDS = 60.0  # to decode a file, plus a tenth of its length


def media_type(path: str) -> str:
  """Return the media type of a file that browsers play, else ''.

  Raises:
    UserError: If it cannot be read.
  """
  try:
    with open(path, "rb") as file:
      return MEDIA_TYPES.get(sound_format(file.read(SNIFFED_BYTES)), "")
  except OSError as error:
    raise UserError(f"the file cannot be read: {error.strerror or error}") from error


def write_wav(path: str, target: str) -> str:
  """Decode a file to 16-bit mono WAV; the unit of work of a worker process.

  Returns:
    Why it cannot be decoded, as when it is longer than MAX_DECODED_SECONDS, or ''.
  """
  try:
    with wave.open(target, "wb") as file:
      file.setnchannels(1)
      file.setsampwidth(2)
      file.setframerate(DECODED_RATE)
      for block in read_blocks(path, DECODED_RATE, notes=[], max_seconds=MAX_DECODED_SECONDS):
        file.writeframes((np.clip(block, -1, 1) * 32767).astype("<i2").tobytes())
  except UnreadableAudio as error:
    return str(error)
  return ""


class DecodedFiles:
  """The last files that were decoded, in a folder of their own.

  Args:
    calls: Worker processes that decode.
  """

  def __init__(self, calls: IsolatedCalls):
    self._calls = calls
    self._folder = tempfile.TemporaryDirectory(prefix="genre_jax-sound-")
    # A thread of its own: a long song does not keep predictions waiting.
    self._decoder = concurrent.futures.ThreadPoolExecutor(1)
    self._wavs: collections.OrderedDict[tuple, concurrent.futures.Future[str]] = (
      collections.OrderedDict()
    )

  def wav_of(self, path: str) -> "concurrent.futures.Future[str]":
    """Return the path, in future, of a WAV file with the sound of a file. Call it in one thread.

    The result raises a UserError if the file cannot be decoded; the message is the reason.

    Raises:
      UserError: If the file cannot be read, or too many others wait.
    """
    try:
      facts = os.stat(path)
    except OSError as error:
      raise UserError(f"the file cannot be read: {error.strerror or error}") from error
    key = (path, facts.st_size, facts.st_mtime_ns)
    for old, future in list(self._wavs.items()):
      if future.done() and future.exception():
        del self._wavs[old]  # perhaps for a time
    if key not in self._wavs:
      ready = [old for old, future in self._wavs.items() if future.done()]
      if len(self._wavs) - len(ready) >= MAX_DECODED_FILES:
        raise UserError("other songs are being decoded: try again later")
      for old in ready[: 1 - MAX_DECODED_FILES]:
        os.unlink(self._wavs.pop(old).result())
      self._wavs[key] = self._decoder.submit(self._decode, path)
    self._wavs.move_to_end(key)
    return self._wavs[key]

  def _decode(self, path: str) -> str:
    descriptor, target = tempfile.mkstemp(suffix=".wav", dir=self._folder.name)
    os.close(descriptor)
    [reason] = self._calls.results(write_wav, [(path, target)], 1, FILE_SECONDS)
    if reason:
      os.unlink(target)
      raise UserError(reason)
    return target

  def close(self) -> None:
    """Delete the files."""
    self._decoder.shutdown(wait=False, cancel_futures=True)
    self._folder.cleanup()
