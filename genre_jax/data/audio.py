"""Decode audio files to mono float32 blocks at one sample rate, in constant memory.

A damaged or unsuitable file raises UnreadableAudio with a reason, so that a caller with many files
can record it and continue. A file counts as truncated if the decoder stops before the end that the
header announces.
"""

import os

import numpy as np
import soundfile
import soxr

# Names of audio files in folders; libsndfile decodes all of them.
EXTENSIONS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".au", ".aif", ".aiff")
# A header with a rate outside this range is damaged.
LOWEST_RATE, HIGHEST_RATE = 1000, 768000
# Samples of all channels decoded at once; bounds memory for any header.
MAX_BLOCK_VALUES = 1 << 22
# One step of 16-bit audio: below it a file is digital silence, possibly with dither.
SILENT_PEAK = 2.0**-15
# Recorders that write to a pipe put a size near 2 or 4 GiB in the header, meaning "until the end".
UNKNOWN_SIZES = range(0x7FFFF000, 0x100000000)


class UnreadableAudio(Exception):
  """A file cannot be used.

  Attributes:
    reason: Why, without the path.
  """

  def __init__(self, reason):
    super().__init__(reason)
    self.reason = reason


def read_blocks(path, sample_rate, block_seconds=10.0):
  """Decode a file block by block.

  Args:
    path: File in a format of soundfile: WAV, FLAC, Ogg, Opus, MP3, AU.
    sample_rate: Hz of the result.
    block_seconds: Approximate length of a block.

  Yields:
    float32[samples], mono (mean of the channels), never empty.

  Raises:
    UnreadableAudio: If the file is missing, empty, not audio, truncated, or contains NaN or
      infinity.
  """
  path = os.fspath(path)
  if not os.path.exists(path):
    raise UnreadableAudio("there is no such file")
  if not os.path.isfile(path):
    raise UnreadableAudio("is not a file")
  try:
    if os.path.getsize(path) == 0:
      raise UnreadableAudio("is empty (0 bytes)")
    with soundfile.SoundFile(os.fsencode(path)) as file:
      yield from _decode(file, path, sample_rate, block_seconds)
  except soundfile.LibsndfileError as error:
    reason = error.error_string.removeprefix("Error : ").rstrip(".")
    # libsndfile reports these for a few bytes that begin like an MP3.
    if "does not exist" in reason or "not recognised" in reason:  # libsndfile's spelling
      reason = "it is not audio, or is damaged at its start"
    raise UnreadableAudio(f"cannot be decoded: {reason}") from error
  except (OSError, RuntimeError) as error:
    raise UnreadableAudio(f"cannot be read: {error}") from error


def _decode(file, path, sample_rate, block_seconds):
  """Yield the blocks of an open file; raise UnreadableAudio at its end if audio is missing."""
  rate, channels = file.samplerate, file.channels
  if not LOWEST_RATE <= rate <= HIGHEST_RATE:
    raise UnreadableAudio(
      f"has a sample rate of {rate} Hz, outside {LOWEST_RATE} to {HIGHEST_RATE} Hz"
    )
  block = max(1, min(int(block_seconds * rate), MAX_BLOCK_VALUES // channels))
  resampler = (
    soxr.ResampleStream(rate, sample_rate, 1, dtype="float32") if rate != sample_rate else None
  )
  decoded = 0
  while True:
    values = file.read(block, dtype="float32", always_2d=True)
    if not len(values):
      break
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
      where = (decoded + int(np.argmin(finite))) / rate
      raise UnreadableAudio(f"contains NaN or infinite samples (first at {where:.2f} s)")
    decoded += len(values)
    mono = values[:, 0] if channels == 1 else values.mean(axis=1)
    if resampler is not None:
      mono = resampler.resample_chunk(mono)
    if len(mono):
      yield np.ascontiguousarray(mono)
  if not decoded:
    raise UnreadableAudio("contains no audio (0 samples)")
  _check_complete(file, path, decoded, rate)
  if resampler is not None:
    mono = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
    if len(mono):
      yield mono


def read_audio(path, sample_rate):
  """Return a whole file as float32[samples], mono, at `sample_rate` Hz; see `read_blocks`."""
  return np.concatenate(list(read_blocks(path, sample_rate)))


def _check_complete(file, path, decoded, rate):
  """Raise UnreadableAudio if the header announces clearly more audio than was decoded."""
  if file.format in ("WAV", "WAVEX", "AU", "AIFF"):
    # libsndfile silently shortens these to the existing bytes, so the header is read again.
    announced, present = _pcm_bytes(path)
    if announced in UNKNOWN_SIZES or not announced:
      return
    expected = decoded * announced / max(present, 1)
  elif file.format == "OGG":
    if not _ogg_ends(path):
      raise UnreadableAudio(f"is truncated: the Ogg stream breaks off after {decoded / rate:.2f} s")
    return
  elif file.format == "MP3" and not _mp3_counts_frames(path):
    return
  else:
    expected = file.frames
  # 1 %: some encoders announce slightly more than they write.
  if decoded < 0.99 * expected:
    raise UnreadableAudio(
      f"is truncated: it announces {expected / rate:.2f} s and ends after {decoded / rate:.2f} s"
    )


def _pcm_bytes(path):
  """Return the bytes of audio of a WAV, AU or AIFF file: (announced by its header, present)."""
  size = os.path.getsize(path)
  with open(path, "rb") as file:
    head = file.read(12)
    if head[:4] in (b".snd", b"dns."):
      order = "big" if head[:4] == b".snd" else "little"
      start = int.from_bytes(head[4:8], order)
      return int.from_bytes(head[8:12], order), size - start
    order = "big" if head[:4] in (b"RIFX", b"FORM") else "little"
    at = 12
    while at + 8 <= size:
      file.seek(at)
      chunk = file.read(8)
      length = int.from_bytes(chunk[4:8], order)
      if chunk[:4] in (b"data", b"SSND"):
        return length, min(length, size - at - 8)
      at += 8 + length + length % 2
  return 0, 0


def _ogg_ends(path):
  """Return True if the last Ogg page is complete and marked as the end of its stream."""
  size = os.path.getsize(path)
  with open(path, "rb") as file:
    # A page has at most 65307 bytes.
    file.seek(max(0, size - 2 * 65307))
    tail = file.read()
  at = tail.rfind(b"OggS")
  while at >= 0:
    table = tail[at + 26 : at + 27]
    if table:
      lengths = tail[at + 27 : at + 27 + table[0]]
      if at + 27 + table[0] + sum(lengths) <= len(tail):
        return bool(tail[at + 5] & 4)
    return False
  return False


def _mp3_counts_frames(path):
  """Return True if an MP3 has the tag with its number of frames, else its length is a guess."""
  with open(path, "rb") as file:
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
      start = 10 + sum(
        (byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
      )
    file.seek(start)
    head = file.read(4096)
  return any(tag in head for tag in (b"Xing", b"Info", b"VBRI"))
