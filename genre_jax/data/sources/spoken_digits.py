"""Source: recordings/DIGIT_SPEAKER_TAKE.wav of the Free Spoken Digit Dataset.

Six speakers say each of the digits 0 to 9 fifty times, 8 kHz mono, 0.1 to 2.3 s (Jackson and
others, CC BY-SA 4.0, github.com/Jakobovski/free-spoken-digit-dataset). Groups are speakers. Takes 0
to 4 are the test split, as the dataset defines it. Takes 5 to 9 are the validation split here.
"""

import os
import re

from genre_jax.data.files import file_stamps, list_files
from genre_jax.data.source import AudioFileReader, Clip, Request, Source, choose_classes
from genre_jax.errors import UserError

FILE = re.compile(r"((\d)_(\w+)_(\d+))\.(?i:wav|flac)")


def open_spoken_digits(request: Request) -> Source:
  """Open a folder with the recordings, directly or one level below, as a source."""
  files = list_files(request.path, 1) if os.path.isdir(request.path) else []
  all_clips, others = [], 0
  for name, path in files:
    if match := FILE.fullmatch(os.path.basename(name)):
      track, digit, speaker, take = match.groups()
      split = "test" if int(take) < 5 else "validation" if int(take) < 10 else "train"
      all_clips.append(Clip(track, speaker, (digit,), path, split=split))
    else:
      others += 1
  if not all_clips:
    raise UserError(
      f"{request.flag}: the folder contains no DIGIT_SPEAKER_TAKE.wav, such as 0_jackson_0.wav."
    )
  classes = choose_classes(request.genres, (clip.labels[0] for clip in all_clips))
  clips = sorted(
    (clip for clip in all_clips if clip.labels[0] in classes), key=lambda clip: clip.track
  )
  return Source(
    "spoken_digits",
    classes,
    tuple(clips),
    AudioFileReader(),
    identity=file_stamps((clip.track, clip.path) for clip in clips),
    notes=(f"{others} other files left out",) if others else (),
  )
