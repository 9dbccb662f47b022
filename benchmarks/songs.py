"""Make a folder of songs from free recordings: `python -m benchmarks.songs`.

    python tools/free_recordings.py --out=FREE --kind=music     # 51 hours of music
    python -m benchmarks.songs --recordings=FREE --out=SONGS    # 500 songs of 3 to 5 minutes

The recordings are cut into pieces of 3 to 5 minutes and encoded as MP3, M4A and FLAC in turn, in
stereo at 44.1 kHz. If there are too few pieces, the first ones follow again in another format.
Songs that exist are not made again.
"""

import concurrent.futures
import csv
import functools
import os
import pathlib

import av
from absl import flags
from tqdm import tqdm

from genre_jax import command_line
from genre_jax.errors import UserError
from genre_jax.files import move_into_place

RECORDINGS = flags.DEFINE_string("recordings", None, "Folder of tools/free_recordings.py.")
OUT = flags.DEFINE_string("out", None, "Folder of the songs.")
COUNT = flags.DEFINE_integer("count", 500, "Number of songs.", lower_bound=1)

SHORTEST, LONGEST = 180, 300  # seconds
# Extension, FFmpeg's names of container and codec, bits per second.
FORMATS = (
  ("mp3", "mp3", "libmp3lame", 192_000),
  ("m4a", "ipod", "aac", 192_000),
  ("flac", "flac", "flac", None),
)


def pieces(folder: pathlib.Path) -> list[tuple[str, int]]:
  """Return (file, first second) of every piece of at least SHORTEST seconds, first pieces first."""
  with open(folder / "recordings.csv", encoding="utf-8", newline="") as lines:
    rows = [row for row in csv.DictReader(lines) if row["kind"] == "music"]
  starts = [
    (start, row["file"])
    for row in rows
    for start in range(0, int(float(row["seconds"])) - SHORTEST + 1, LONGEST)
  ]
  return [(file, start) for start, file in sorted(starts)]


def encode(
  folder: pathlib.Path, out: pathlib.Path, number: int, piece: tuple[str, int], turn: int
) -> None:
  """Write a piece as song `number` in the format whose turn it is, unless it exists."""
  extension, container, codec, bit_rate = FORMATS[turn % len(FORMATS)]
  path = out / f"{number:04d}.{extension}"
  if path.exists():
    return
  temporary = path.with_suffix(".part")
  file, start = piece
  with av.open(str(folder / file)) as source, av.open(temporary, "w", format=container) as target:
    stream = target.add_stream(codec, rate=44100, layout="stereo")
    if bit_rate:
      stream.bit_rate = bit_rate
    frames = av.AudioResampler(stream.format, "stereo", 44100, stream.frame_size or 4096)
    left = [start * 44100, LONGEST * 44100]  # samples to leave out, and to write
    for decoded in source.decode(audio=0):
      for frame in frames.resample(decoded):
        if left[0] > 0:
          left[0] -= frame.samples
        elif left[1] > 0:
          left[1] -= frame.samples
          frame.pts = None
          target.mux(stream.encode(frame))
      if left[1] <= 0:
        break
    target.mux(stream.encode(None))
  move_into_place(temporary, path)


def main(_):
  """Make the songs."""
  folder, out = pathlib.Path(RECORDINGS.value), pathlib.Path(OUT.value)
  found, numbers = pieces(folder), range(COUNT.value)
  if not found:
    raise UserError(f"--recordings={folder}: no music of at least {SHORTEST} s")
  chosen = [found[number % len(found)] for number in numbers]
  turns = [number % len(found) + number // len(found) for number in numbers]
  out.mkdir(parents=True, exist_ok=True)
  work = functools.partial(encode, folder, out)
  with concurrent.futures.ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
    done = pool.map(work, numbers, chosen, turns)
    for _ in tqdm(done, total=len(numbers), disable=None):
      pass
  print(f"{len(numbers)} songs in {out}, of {min(len(found), len(numbers))} pieces of recordings")


if __name__ == "__main__":
  flags.mark_flags_as_required(["recordings", "out"])
  command_line.run(main)
