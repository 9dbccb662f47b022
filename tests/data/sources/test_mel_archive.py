"""Frames and levels of the GTZAN archive equal the log-mel of real excerpts."""

import numpy as np
import pytest

from genre_jax.data.audio import read_audio
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import log_mel
from genre_jax.data.sources.registry import open_source

# Excerpts of 15-20 s; all start at sample 0 of their clip.
TRACKS = ("hiphop.00005", "jazz.00008", "classical.00009", "reggae.00006", "metal.00006")


@pytest.mark.parametrize("track", TRACKS)
def test_columns_of_the_archive_are_frames_of_the_excerpt(gtzan, track):
  source = open_source("auto", str(gtzan / "log_mel.npz"), "all")
  clip = next(clip for clip in source.clips if clip.track == track)
  archive = source.log_mel(clip, FrontendConfig())
  audio = read_audio(gtzan / "audio" / track.split(".")[0] / f"{track}.flac", 22050)
  frames = log_mel(audio, FrontendConfig(frame_stride=1.0, top_db=0.0, db_ref="full_scale"))

  def error(columns):
    columns = columns[columns < len(frames) - 2]
    levels = archive[: len(columns)]
    above_floor = levels > -70
    change = (frames[columns] - levels)[above_floor]
    return np.median(np.abs(change - np.median(change)))

  # 0.08 dB is the median error of quantizing in steps of 80 / 256 dB, evenly spread.
  assert error(np.floor((np.arange(387) + 0.5) * 1293 / 387.5).astype(int)) < 0.11
  assert error(FrontendConfig().frame_indices(1293)) < 0.2
