"""Spoken digits: the Free Spoken Digit Dataset's recordings/DIGIT_SPEAKER_TAKE.wav.

A source: six speakers say the digits 0 to 9 fifty times each, 8 kHz mono, 0.1 to 2.3 s (Jackson and
others, CC BY-SA 4.0, github.com/Jakobovski/free-spoken-digit-dataset). Groups are speakers. Sides
are those of the set: takes 0 to 4 test; takes 5 to 9 are valid here.
"""

import os
import re

from genre_jax.data.files import file_stamps, list_files
from genre_jax.data.source import AudioFileReader, Clip, Request, Source, choose_classes
from genre_jax.errors import UserError

FILE = re.compile(r"((\d)_(\w+)_(\d+))\.(?:wav|flac)")


def open_spoken_digits(request: Request) -> Source:
  """The source of a folder that holds the recordings, directly or one folder down."""
  files = list_files(request.path, 1) if os.path.isdir(request.path) else []
  every, others = [], 0
  for name, path in files:
    if match := FILE.fullmatch(os.path.basename(name)):
      track, digit, speaker, take = match.groups()
      split = "test" if int(take) < 5 else "validation" if int(take) < 10 else "train"
      every.append(Clip(track, speaker, (digit,), path, split=split))
    else:
      others += 1
  if not every:
    raise UserError(f"{request.flag}: no DIGIT_SPEAKER_TAKE.wav, as 0_jackson_0.wav, lies there.")
  classes = choose_classes(request.genres, (clip.labels[0] for clip in every))
  clips = sorted((clip for clip in every if clip.labels[0] in classes), key=lambda clip: clip.track)
  return Source(
    "spoken_digits",
    classes,
    tuple(clips),
    AudioFileReader(),
    identity=file_stamps((clip.track, clip.path) for clip in clips),
    notes=(f"{others} other files left out",) if others else (),
  )
