"""Decode audio of any format to float32 samples at the file's own rate, with FFmpeg through PyAV.

The format is recognized by content. Damaged parts are skipped, chained and joined streams are read
through, and streams may change their sample rate or channels. Only demuxers of audio and video
files are allowed: formats that refer to other files or addresses, such as playlists, are refused.
"""

import contextlib
import dataclasses
import io
import itertools
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import av
import numpy as np

from genre_jax.data import headers
from genre_jax.data.worker_process import report_progress

# A header with a rate outside this range is damaged. DSD512 has 2.8 MHz after decoding.
LOWEST_RATE, HIGHEST_RATE = 1000, 3_000_000
# Values of all channels in one block; bounds memory for any header.
MAX_BLOCK_VALUES = 1 << 22
# FFmpeg's names of demuxers: containers of audio, video files, and bare streams of one codec.
FORMATS = (
  "aa,aac,ac3,aiff,amr,amrnb,amrwb,ape,apm,asf,ast,au,avi,avr,bonk,brstm,caf,codec2,dff,dsf,dss,dts,"
  "dtshd,eac3,flac,flv,g722,g726,gsm,hca,iff,ircam,loas,matroska,mlp,mmf,mov,mp3,mpc,mpc8,mpeg,"
  "mpegts,nut,ogg,oma,osq,paf,pvf,qoa,rm,rso,sbc,shn,smjpeg,sol,sox,tak,tta,truehd,voc,vqf,w64,wav,"
  "wsd,wv,xwma"
)
# Containers whose header gives the true length. Others contain no length, or the demuxer guesses.
HAVE_LENGTH = (
  "aiff",
  "ape",
  "asf",
  "au",
  "caf",
  "dsf",
  "flac",
  "matroska,webm",
  "mov,mp4,m4a,3gp,3g2,mj2",
  "tak",
  "tta",
  "w64",
  "wav",
  "wv",
)
# Types of samples by FFmpeg's name, without the p of those with a plane for each channel.
DTYPES = {
  "u8": np.uint8,
  "s16": np.int16,
  "s32": np.int32,
  "s64": np.int64,
  "flt": np.float32,
  "dbl": np.float64,
}
SMALL_FRAME = 500  # samples; those of usual codecs have more
# Faults of the demuxer in one file, after which reading it ends.
MAX_DEMUXER_FAULTS = 100
# Time stamps of an Ogg file without damage have smaller gaps.
GAP_SECONDS = 0.1
# Length of an excerpt. It is found by seeking a little before it, because some codecs need earlier
# packets, and some files give positions roughly.
EXCERPT_SECONDS, SEEK_BEFORE_SECONDS = 30.0, 1.0
# A file is read whole if its excerpts would be more than this share of it.
MAX_EXCERPT_SHARE = 0.8
TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICS")  # between joined MP3 streams


class UnreadableAudio(Exception):
  """A file cannot be used.

  Attributes:
    reason: Why, without the path.
  """

  def __init__(self, reason):
    super().__init__(reason)
    self.reason = reason


@dataclasses.dataclass
class Facts:
  """What is known about a file while it is decoded.

  Attributes:
    format: FFmpeg's name of the container.
    announced: Length in seconds that the header gives, 0 if unknown.
    decoded: Seconds decoded so far.
    end: Time stamp in seconds of the end of the last frame, 0 if unknown.
    damaged: Number of damaged parts that were skipped.
    first_damage: Position of the first of them in seconds.
    excerpts: True if excerpts were decoded instead of the whole file.
  """

  format: str = ""
  announced: float = 0.0
  decoded: float = 0.0
  end: float = 0.0
  damaged: int = 0
  first_damage: float = 0.0
  excerpts: bool = False


def decode(
  source: str | BinaryIO | io.RawIOBase,
  facts: Facts,
  block_seconds: float = 10.0,
  excerpts: int = 0,
) -> Iterator[tuple[np.ndarray, int]]:
  """Decode a file block by block.

  Args:
    source: Path of a file, or an open binary file, which need not be seekable.
    facts: Is filled in during decoding.
    block_seconds: Approximate length of a block.
    excerpts: Number of excerpts of EXCERPT_SECONDS to decode, evenly spaced, instead of the whole
      file; 0 for the whole file. Short, chained and open files are decoded whole.

  Yields:
    (float32[channels, samples] with full scale 1, sample rate in Hz), never empty.

  Raises:
    UnreadableAudio: If the file is not audio, has no sound, or cannot be decoded at all.
    OSError: If the file cannot be read.
  """
  if not isinstance(source, str):
    yield from _decode_part(source, facts, block_seconds)
    return
  starts = headers.file_starts(source)
  head = headers.repaired_head(source)
  if len(starts) == 1 and not head:
    if excerpts:
      with _open(source) as (container, stream):
        facts.format = container.format.name
        frames = _excerpt_frames(container, stream, facts, excerpts)
        yield from _blocks(frames, facts, block_seconds)
      if facts.excerpts:
        return
    yield from _decode_part(source, facts, block_seconds)
    return
  # FFmpeg stops where a chained file changes its sample rate or codec: decode each part alone.
  for start, end in itertools.pairwise([*starts, os.path.getsize(source)]):
    with contextlib.closing(headers.FilePart(source, start, end, head)) as part:
      head = b""
      try:
        yield from _decode_part(part, facts, block_seconds)
      except UnreadableAudio:
        if len(starts) == 1:
          raise
        _note_damage(facts)


def _decode_part(source, facts, block_seconds):
  """Decode one link of a chained file, or a file that is not chained."""
  with _open(source) as (container, stream):
    facts.format = container.format.name
    announced = 0.0
    if _knows_length(facts.format, source):
      if stream.duration:
        announced = float(stream.duration * stream.time_base)
      elif container.duration:  # Matroska gives the length of the file alone
        announced = container.duration / av.time_base
      if facts.format in ("wav", "w64", "caf") and isinstance(source, str):
        # FFmpeg reports the length that is present.
        announced /= headers.audio_share(source) or 1
    facts.announced += announced
    yield from _blocks(_frames(container, stream, facts), facts, block_seconds)


@contextlib.contextmanager
def _open(source):
  """Open a file and choose its audio stream."""
  name, options = source, {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
  if isinstance(source, str):
    name = "file:" + source  # no other protocol
    if headers.wav_continues(source):
      options["ignore_length"] = "1"  # an option of the demuxer of WAV
  with contextlib.ExitStack() as stack:
    try:
      container = stack.enter_context(
        av.open(
          name,
          options=options,
          metadata_errors="replace",  # tags are not used
        )
      )
      stream = container.streams.best("audio")
    except av.error.FFmpegError as error:
      if isinstance(source, str) and headers.mp4_without_index(source):
        raise UnreadableAudio("is truncated: the index at the end of the MP4 is missing") from error
      raise _unreadable(error) from error
    if container.streams.audio and (stream is None or stream.codec_context is None):
      raise UnreadableAudio("contains audio that cannot be decoded: its codec or its header")
    if stream is None:
      raise UnreadableAudio("contains no audio, only " + _kinds(container))
    stream.codec_context.thread_type = "NONE"
    yield container, stream


def sample_rate(path: str) -> int:
  """Return the sample rate of a file in Hz.

  Raises:
    UnreadableAudio: If it is not audio or cannot be read.
  """
  with _open(path) as (_, stream):
    return stream.codec_context.sample_rate


def _knows_length(container_format, source) -> bool:
  """Return True if the length that FFmpeg reports is that of the header and not a guess."""
  if container_format == "mp3":
    return isinstance(source, str) and headers.mp3_counts_frames(source)
  return container_format in HAVE_LENGTH


def _kinds(container) -> str:
  return ", ".join(sorted({stream.type for stream in container.streams})) or "an empty container"


def _unreadable(error: Exception) -> UnreadableAudio:
  """Return the error for a file that cannot be opened."""
  if isinstance(error, OSError) and not isinstance(error, av.error.InvalidDataError):
    return UnreadableAudio(f"cannot be read: {error.strerror or error}")
  return UnreadableAudio("cannot be decoded: it is not audio, or is damaged at its start")


def _packets(container, chosen, facts) -> Iterator[Any]:
  """Yield the packets of a stream and of streams that begin later, as in chained files."""
  others = {stream.index for stream in container.streams} - {chosen.index}
  faults = 0
  while faults < MAX_DEMUXER_FAULTS:
    try:
      for packet in container.demux():
        if packet.stream.type == "audio" and packet.stream.index not in others:
          yield packet
      return
    except EOFError:
      return
    except av.error.FFmpegError:
      faults += 1
      _note_damage(facts)


def _frames(container, chosen, facts) -> Iterator[Any]:
  """Yield decoded frames; damaged packets are counted and skipped."""
  end = None
  for packet in _packets(container, chosen, facts):
    try:
      frames = packet.decode()
    except av.error.EOFError:
      continue
    except av.error.FFmpegError:
      if not bytes(packet)[:8].startswith(TAGS):
        _note_damage(facts)
      continue
    for frame in frames:
      if frame.samples:
        if frame.time is not None:
          if facts.format == "ogg" and end is not None and frame.time - end > GAP_SECONDS:
            _note_damage(facts)  # pages are missing
          end = frame.time + frame.samples / frame.sample_rate
          facts.end = max(facts.end, end)
        yield frame


def _excerpt_frames(container, chosen, facts, count) -> Iterator[Any]:
  """Yield the frames of evenly spaced excerpts; nothing if the whole file must be read."""
  length = (container.duration or 0) / av.time_base
  if count * EXCERPT_SECONDS > MAX_EXCERPT_SHARE * length:
    return
  first = (container.start_time or 0) / av.time_base
  for number in range(count):
    start = first + (number + 0.5) * length / count - EXCERPT_SECONDS / 2
    try:
      container.seek(int((start - SEEK_BEFORE_SECONDS) * av.time_base))
    except av.error.FFmpegError:
      if facts.excerpts:
        _note_damage(facts)
        continue
      return
    for frame in _frames(container, chosen, facts):
      if frame.time is None or frame.time >= start + EXCERPT_SECONDS:
        break
      if frame.time >= start:
        facts.excerpts = True
        yield frame


def _note_damage(facts):
  if not facts.damaged:
    facts.first_damage = facts.decoded
  facts.damaged += 1


def _blocks(frames, facts, block_seconds):
  """Join frames of one format to blocks."""
  parts, count, limit, now = [], 0, 0, None
  for frame in frames:
    key = frame.sample_rate, frame.layout.nb_channels, frame.format.name
    if now is not None and (key != now or count >= limit):
      yield _block(parts, now), now[0]
      parts, count = [], 0
    if key != now:
      rate, channels, _ = now = key
      if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise UnreadableAudio(
          f"has a sample rate of {rate} Hz, outside {LOWEST_RATE} to {HIGHEST_RATE} Hz"
        )
      limit = max(1, min(int(block_seconds * rate), MAX_BLOCK_VALUES // channels))
    parts.append(_samples(frame))
    count += frame.samples
    facts.decoded += frame.samples / frame.sample_rate
  if parts:
    yield _block(parts, now), now[0]


def _samples(frame) -> list[np.ndarray]:
  """Return the samples of each plane of a frame; large frames are not copied.

  PyAV's `to_ndarray` copies each frame, which costs a tenth of reading an MP3, and lacks 64-bit
  integers. A frame that is kept needs a kilobyte besides its samples.
  """
  name = frame.format.name
  count = frame.samples * (1 if name.endswith("p") else frame.layout.nb_channels)
  dtype = DTYPES[name.removesuffix("p")]
  planes = [np.frombuffer(plane, dtype, count) for plane in frame.planes]
  return [plane.copy() for plane in planes] if frame.samples < SMALL_FRAME else planes


def _block(parts, key) -> np.ndarray:
  """Return joined frames as float32[channels, samples]."""
  rate, channels, name = key
  planes = list(zip(*parts, strict=True))
  values = np.empty((len(planes), sum(map(len, planes[0]))), planes[0][0].dtype)
  for row, plane in zip(values, planes, strict=True):
    np.concatenate(plane, out=row)
  if not name.endswith("p"):
    values = values.reshape(-1, channels).T
  report_progress(values.shape[1] / rate)
  if name.startswith("u8"):
    return (values.astype(np.float32) - 128) / 128
  if np.issubdtype(values.dtype, np.integer):
    return values.astype(np.float32) * np.float32(1 / -float(np.iinfo(values.dtype).min))
  with np.errstate(over="ignore"):  # infinity is reported by the caller
    return values.astype(np.float32, copy=False)
