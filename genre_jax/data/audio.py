"""Read audio files as mono float32 blocks at one sample rate, in constant memory.

What is damaged or missing inside a file is skipped and noted, so that the rest is used. A file
without usable sound raises UnreadableAudio with a reason, so that a caller with many files can
record it and continue.
"""

import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import soxr

from genre_jax.data import decoder, headers
from genre_jax.data.decoder import Facts, UnreadableAudio
from genre_jax.data.mono import MonoMixer, OffsetFilter
from genre_jax.data.silence import DigitalSilenceCutter, SilenceCutter

# Audio samples are within 1. Above about 1e15 their power overflows float32.
LOUDEST = 1e9
# Share of the announced length, and seconds, that may be missing without a note: encoders announce
# slightly more than they write.
LENGTH_TOLERANCE, LENGTH_TOLERANCE_SECONDS = 0.01, 0.1


def read_blocks(
  source: str | os.PathLike | BinaryIO | io.RawIOBase,
  sample_rate: int,
  block_seconds: float = 10.0,
  notes: list[str] | None = None,
  *,
  plain_mean: bool = False,
  cutter: SilenceCutter | None = None,
  max_seconds: float = 0.0,
  digest: Any = None,
  excerpts: int = 0,
) -> Iterator[np.ndarray]:
  """Decode a file block by block.

  Args:
    source: File of any format that FFmpeg decodes, by content and not by name; or an open binary
      file, which need not be seekable.
    sample_rate: Hz of the result.
    block_seconds: Approximate length of a block.
    notes: Gets a line at the end if parts of the file are damaged or missing. Without it, that
      raises UnreadableAudio at the end.
    plain_mean: Mix with the mean of the channels, and keep a constant offset.
    cutter: Removes the silent stretches.
    max_seconds: A longer file raises UnreadableAudio; 0 for no limit.
    digest: Hash object of hashlib, updated with the decoded samples at their own rate and with
      their format. Files with equal sound get equal hashes, whatever their tags.
    excerpts: As of `decoder.decode`; the result is the excerpts one after the other.

  Yields:
    float32[samples], mono, without constant offset (see `MonoMixer`), never empty.

  Raises:
    UnreadableAudio: If the file is missing, empty, not audio, or contains NaN or too large values.
  """
  if isinstance(source, (str, os.PathLike)):
    source = os.fspath(source)
    _check_file(source)
  facts, converter, now = Facts(), None, None
  try:
    for values, rate in decoder.decode(source, facts, block_seconds, excerpts):
      _check_values(values, rate, facts)
      if max_seconds and facts.decoded > max_seconds:
        raise UnreadableAudio(f"is longer than {max_seconds / 60:g} minutes")
      if digest is not None and (rate, len(values)) != now:
        digest.update(f"{rate} Hz, {len(values)} channels;".encode())
      if (rate, len(values)) != now:
        if converter is not None:
          yield from converter.flush()
        now = rate, len(values)
        converter = _Converter(rate, sample_rate, plain_mean, cutter)
      if digest is not None:
        digest.update(np.ascontiguousarray(values.T))
      yield from converter.push(values)
  except OSError as error:
    raise UnreadableAudio(f"cannot be read: {error.strerror or error}") from error
  if converter is None:
    raise UnreadableAudio(
      "cannot be decoded: all of it is damaged"
      if facts.damaged
      else "contains no audio (0 samples)"
    )
  yield from converter.flush()
  if cutter is not None:
    yield from converter.filtered(cutter.flush())
  if note := _note(source, facts):
    if notes is None:
      raise UnreadableAudio(note)
    notes.append(note)


def read_audio(path: str | os.PathLike, sample_rate: int) -> np.ndarray:
  """Return a whole file as float32[samples], mono, at `sample_rate` Hz; see `read_blocks`."""
  return np.concatenate(list(read_blocks(path, sample_rate)))


def _check_file(path: str) -> None:
  try:
    os.stat(path)
    if not os.path.isfile(path):
      raise UnreadableAudio("is not a file")
    if os.path.getsize(path) == 0:
      raise UnreadableAudio("is empty (0 bytes)")
    with open(path, "rb"):
      pass
  except FileNotFoundError as error:
    raise UnreadableAudio("there is no such file") from error
  except OSError as error:
    raise UnreadableAudio(f"cannot be read: {error.strerror or error}") from error
  except ValueError as error:  # a zero byte in the name
    raise UnreadableAudio(f"cannot be read: {error}") from error


def _check_values(values: np.ndarray, rate: int, facts: Facts) -> None:
  """Raise UnreadableAudio for samples with which nothing can be computed."""
  usable = np.abs(values) <= LOUDEST
  if usable.all():
    return
  finite = np.isfinite(values).all(axis=0)
  if not finite.all():
    where = max(0.0, facts.decoded - (values.shape[1] - int(np.argmin(finite))) / rate)
    raise UnreadableAudio(f"contains NaN or infinite samples (first at {where:.2f} s)")
  raise UnreadableAudio(
    f"is too loud to compute with: samples reach {float(np.abs(values).max()):.0e}"
  )


class _Converter:
  """Convert float32[channels, samples] of one rate to mono at another rate."""

  def __init__(self, rate: int, sample_rate: int, plain_mean: bool, cutter: SilenceCutter | None):
    self._cutter = cutter
    # Samples that were resampled, and that the cutter got. The resampler returns them later: what
    # was cut of digital silence waits in (place in the output, number of samples).
    self._ratio, self._taken, self._given = sample_rate / rate, 0, 0
    self._cuts: list[tuple[int, int]] = []
    self._digital = DigitalSilenceCutter(rate) if cutter else None
    self._mixer = None if plain_mean else MonoMixer(rate)
    self._offset_filter = None if plain_mean else OffsetFilter(sample_rate)
    self._resampler = (
      soxr.ResampleStream(rate, sample_rate, 1, dtype="float32") if rate != sample_rate else None
    )

  def push(self, values):
    yield from self._split(self._mixer.push(values) if self._mixer else values.mean(axis=0))

  def flush(self):
    if self._mixer:
      yield from self._split(self._mixer.flush())
    rest = self._digital.flush() if self._digital else np.zeros(0, np.float32)
    yield from self._resample(rest, last=True)
    for _, cut in self._cuts:
      yield from self.filtered(self._cutter.skip(cut))

  def _split(self, mono):
    """Cut digital silence out of mono samples and convert the others."""
    if self._digital is None:
      yield from self._resample(mono, last=False)
      return
    for sound, cut in self._digital.push(mono):
      if cut:
        place = round((self._taken + len(sound)) * self._ratio)
        self._cuts.append((place, round(cut * self._ratio)))
      yield from self._resample(sound, last=False)

  def _resample(self, mono, last):
    self._taken += len(mono)
    if self._resampler is not None and (len(mono) or last):
      mono = self._resampler.resample_chunk(mono, last=last)
    # Before the filter, whose output needs a second to follow music into silence.
    while self._cuts and self._given + len(mono) >= self._cuts[0][0]:
      place, cut = self._cuts.pop(0)
      first, mono = np.split(mono, [max(0, place - self._given)])
      self._given += len(first)
      yield from self.filtered(self._cutter.push(first))
      yield from self.filtered(self._cutter.skip(cut))
    self._given += len(mono)
    yield from self.filtered(self._cutter.push(mono) if self._cutter else mono)

  def filtered(self, mono):
    """Yield samples without offset, if there are any."""
    if len(mono):
      yield self._offset_filter.push(mono) if self._offset_filter else mono


def _note(source, facts: Facts) -> str:
  """Return what was not read and why; '' if everything was."""
  tolerance = max(LENGTH_TOLERANCE * facts.announced, LENGTH_TOLERANCE_SECONDS)
  missing = facts.decoded < facts.announced - tolerance
  whole = isinstance(source, str) and not facts.excerpts
  if not facts.announced and facts.format == "ogg" and whole:
    if not headers.ogg_ends(source):
      return f"read {facts.decoded:.1f} s: the Ogg stream breaks off there, the file is truncated"
  of = f" of {facts.announced:.1f}" if missing else ""
  stops = facts.damaged <= 1 and facts.decoded - facts.first_damage < LENGTH_TOLERANCE_SECONDS
  if missing and facts.end <= facts.decoded + tolerance and (not facts.damaged or stops):
    return f"read {facts.decoded:.1f}{of} s: the file is truncated"
  if facts.damaged:
    parts = "1 damaged part" if facts.damaged == 1 else f"{facts.damaged} damaged parts"
    return f"read {facts.decoded:.1f}{of} s: skipped {parts}, first at {facts.first_damage:.1f} s"
  return f"read {facts.decoded:.1f}{of} s: skipped damaged parts" if missing else ""
