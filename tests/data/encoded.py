"""Write audio files in many formats with FFmpeg's encoders, and two that FFmpeg cannot write."""

import fractions
import pathlib
import struct

import av
import numpy as np

# {name: (container, codec, lossless)}; names have the usual extensions.
FORMATS = {
  "pcm_u8.wav": ("wav", "pcm_u8", False),
  "pcm_s16.wav": ("wav", "pcm_s16le", True),
  "pcm_s24.wav": ("wav", "pcm_s24le", True),
  "pcm_s32.wav": ("wav", "pcm_s32le", True),
  "pcm_f32.wav": ("wav", "pcm_f32le", True),
  "pcm_f64.wav": ("wav", "pcm_f64le", True),
  "song.w64": ("w64", "pcm_s16le", True),
  "song.aiff": ("aiff", "pcm_s16be", True),
  "song.au": ("au", "pcm_s16be", True),
  "song.caf": ("caf", "pcm_s16le", True),
  "song.flac": ("flac", "flac", True),
  "flac.oga": ("ogg", "flac", True),
  "alac.m4a": ("ipod", "alac", True),
  "song.wv": ("wv", "wavpack", True),
  "song.tta": ("tta", "tta", True),
  "song.opus": ("ogg", "libopus", False),
  "song.mp3": ("mp3", "libmp3lame", False),
  "song.mp2": ("mp2", "mp2", False),
  "aac.m4a": ("ipod", "aac", False),
  "song.aac": ("adts", "aac", False),
  "song.wma": ("asf", "wmav2", False),
  "song.mka": ("matroska", "aac", False),
  "song.webm": ("webm", "libopus", False),
  "song.ac3": ("ac3", "ac3", False),
}


def encode(
  path: pathlib.Path, audio: np.ndarray, rate: int, container: str, codec: str, **options
) -> pathlib.Path:
  """Write float32[channels, samples] with an encoder of FFmpeg; return the path."""
  audio = np.atleast_2d(np.asarray(audio, np.float32))
  layout = {1: "mono", 2: "stereo"}[len(audio)]
  with av.open(str(path), "w", format=container) as file:
    stream = file.add_stream(codec, rate=rate, options=options)
    stream.layout = layout
    if codec in ("aac", "mp2", "ac3", "wmav2", "libmp3lame", "libopus", "libvorbis"):
      stream.bit_rate = 128000
    formats = [known.name for known in stream.codec_context.codec.audio_formats]
    sample_format = next((name for name in formats if name.startswith("s16")), formats[0])
    stream.format = sample_format
    resampler = av.AudioResampler(format=sample_format, layout=layout, rate=rate)
    size = stream.codec_context.frame_size or 4096
    fifo, written = av.AudioFifo(), 0
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio), format="fltp", layout=layout)
    frame.sample_rate = rate
    for piece in resampler.resample(frame):
      piece.pts = None
      fifo.write(piece)
    while (piece := fifo.read(size, partial=True)) is not None:
      # With time stamps, containers store the delay of the encoder.
      piece.pts, piece.time_base = written, fractions.Fraction(1, rate)
      written += piece.samples
      file.mux(stream.encode(piece))
    file.mux(stream.encode(None))
  return path


def write_dsf(path: pathlib.Path, audio: np.ndarray, rate: int) -> pathlib.Path:
  """Write float32[samples] as one channel of DSD64 in a DSF file, by first-order sigma-delta."""
  dsd_rate = 64 * 44100
  wave = np.interp(
    np.arange(int(len(audio) * dsd_rate / rate)) * rate / dsd_rate, np.arange(len(audio)), audio
  )
  bits = np.diff(np.floor(np.cumsum((wave + 1) / 2)), prepend=0).astype(np.uint8)
  block = 4096
  data = np.packbits(bits, bitorder="little").tobytes()
  padded = data + b"\x69" * (-len(data) % block)
  form = struct.pack("<4sQIIIIIIQII", b"fmt ", 52, 1, 0, 1, 1, dsd_rate, 1, len(bits), block, 0)
  chunk = struct.pack("<4sQ", b"data", 12 + len(padded)) + padded
  head = struct.pack("<4sQQQ", b"DSD ", 28, 28 + len(form) + len(chunk), 0)
  path.write_bytes(head + form + chunk)
  return path


def write_rf64(path: pathlib.Path, samples: np.ndarray, rate: int) -> pathlib.Path:
  """Write int16[samples] as RF64, whose sizes are in the chunk ds64."""
  data = samples.astype("<i2").tobytes()
  ds64 = struct.pack("<4sIQQQI", b"ds64", 28, 72 + len(data), len(data), len(samples), 0)
  form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
  head = struct.pack("<4sI4s", b"RF64", 0xFFFFFFFF, b"WAVE")
  path.write_bytes(head + ds64 + form + struct.pack("<4sI", b"data", 0xFFFFFFFF) + data)
  return path
