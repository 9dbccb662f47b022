"""Analyze songs that were read: what the library stores of the model's result."""

import dataclasses

import numpy as np

from genre_jax.inference.model import Model
from genre_jax.inference.predict_files import predict_track
from genre_jax.inference.track_log_mel import TrackLogMel
from genre_jax.library.read_song import Analysis, Song

LARGEST = float(np.finfo(np.float16).max)


def analyze(path: str, track: TrackLogMel, model: Model) -> Analysis:
  """Return the analysis of a track, with a reason in place of values if it fails."""
  try:
    prediction = predict_track(path, track.opened(), model)
  except Exception as error:  # a fault in one file must not end the others
    return Analysis(track.seconds, error=f"{type(error).__name__}: {error}")
  probabilities = np.array([prediction.probabilities[name] for name in model.classes], np.float32)
  embedding = np.zeros(0) if prediction.embedding is None else prediction.embedding
  return Analysis(
    track.seconds,
    prediction.genre,
    prediction.confidence or 0.0,
    probabilities.tobytes(),
    np.clip(embedding, -LARGEST, LARGEST).astype(np.float16).tobytes(),
  )


def with_analysis(path: str, song: Song | str, model: Model) -> Song | str:
  """Return a song with its analysis in place of its log-mel; a failed one as it is."""
  if isinstance(song, str) or not isinstance(song.track, TrackLogMel):
    return song
  return dataclasses.replace(song, track=analyze(path, song.track, model))
