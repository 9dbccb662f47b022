"""Prediction of a whole file on one core, and the share of decoding and resampling."""

import pathlib
import tempfile

import numpy as np

from benchmarks.harness import Contender, format_ratio
from benchmarks.synthetic_audio import write_files

TITLE = "Whole track: a file of 3 minutes, stereo at 44.1 kHz, to its label"
TARGET = "decoding and resampling take more than half of the time"
THREADS = ("one",)
REPEATS = 5
SECONDS, RATE, TRACKS = 180.0, 44100, 4
FORMATS = ("MP3", "FLAC", "OGG", "WAV")


def whole(kind: str):
  """Return the setup of `predict`, with the model loaded."""

  def setup():
    from genre_jax.inference import load, predict

    paths = _files(kind)
    model = load("axis_features_10")

    def run():
      predictions = list(predict(paths, model, workers=1))
      assert all(prediction.status == "ok" for prediction in predictions)

    return run

  return setup


def decode_and_resample(kind: str):
  """Return the setup of the part that reads blocks of mono audio at the model's rate."""

  def setup():
    from genre_jax.data.audio import read_blocks

    paths = _files(kind)

    def run():
      for path in paths:
        for _ in read_blocks(path, 22050):
          pass

    return run

  return setup


def with_log_mel(kind: str):
  """Return the setup of the part before the network."""

  def setup():
    from genre_jax.data.frontend import FrontendConfig
    from genre_jax.inference.track_log_mel import read_track_log_mel

    paths, temporary = _files(kind), tempfile.mkdtemp()

    def run():
      for path in paths:
        assert not isinstance(read_track_log_mel(path, FrontendConfig(), temporary), str)

    return run

  return setup


def _files(kind):
  root = pathlib.Path(tempfile.mkdtemp())
  write_files(root, kind.lower(), RATE, channels=2, count=TRACKS, seconds=SECONDS, distinct=2)
  return sorted(map(str, root.glob("*/*")))


def _contenders():
  for kind in FORMATS:
    yield f"file to label ({kind})", Contender("genre_jax", whole(kind), role="ours", case=kind)
    yield (
      f"decode, resample, log-mel ({kind})",
      Contender("genre_jax", with_log_mel(kind), role="floor", case=kind),
    )
    yield (
      f"decode and resample ({kind})",
      Contender("genre_jax", decode_and_resample(kind), role="floor", case=kind),
    )


CONTENDERS = dict(_contenders())


def remarks(outcomes) -> list[str]:
  """Return tracks/s per core, and the share of the target."""
  lines = []
  for (kind, _), outcome in outcomes.items():
    ours = f"file to label ({kind})"
    if ours in outcome.times:
      lines.append(
        f"{kind}: {TRACKS / np.median(outcome.times[ours]):.2f} tracks/s per core; share"
        f" of decoding {format_ratio(outcome.ratio(f'decode and resample ({kind})', ours))},"
        f" with log-mel {format_ratio(outcome.ratio(f'decode, resample, log-mel ({kind})', ours))}"
      )
  return [*lines, f"one run predicts {TRACKS} tracks"]
