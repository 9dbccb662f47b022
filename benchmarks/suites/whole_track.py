"""From a file of music to its labels on one core, against decoding alone and other programs."""

import pathlib
import subprocess
import tempfile

import numpy as np

from benchmarks.harness import ROOT, Contender, format_ratio
from benchmarks.interleaved import python_of
from benchmarks.synthetic_audio import write_files

TITLE = "Whole track: a file of 3 minutes, stereo at 44.1 kHz, to its labels"
TARGET = (
  "the default model at most 1.25 x the time of decoding and resampling alone; two excerpts of 30 s"
  " at least 5 x as fast as the whole file; musicnn at least 5 x as fast as its package (librosa"
  " and TensorFlow) and 2 x as fast as the same network in ONNX Runtime with soundfile and librosa"
)
NOTES = "whole-tracks"
THREADS = ("one",)
REPEATS = 3
SECONDS, RATE = 180.0, 44100
FORMATS = ("MP3", "FLAC")
DEFAULT, SMALL = "musicnn_yamnet", "axis_features_10"
MUSICNN = "musicnn_msd"
SEGMENTS = 8  # of a batch in ONNX Runtime
# Segments begin at slightly different frames, and the package resamples in another way.
TOLERANCE = 0.05


def whole(kind: str, name: str, excerpts: int = 0):
  """Return the setup of `predict`, with the model loaded and the process that decodes started."""

  def setup():
    from genre_jax.data.isolated_calls import IsolatedCalls
    from genre_jax.inference import load
    from genre_jax.inference.predict_files import find_files, predict_found

    paths = _files(kind)
    model, calls = load(name), IsolatedCalls()

    def run():
      found = find_files(paths)
      predictions = list(predict_found(found, model, workers=1, excerpts=excerpts, calls=calls))
      assert all(prediction.status == "ok" for prediction in predictions)
      return np.array([list(one.probabilities.values()) for one in predictions])

    return run

  return setup


def decode_and_resample(kind: str, rate: int):
  """Return the setup of the part that reads blocks of mono audio at a model's rate."""

  def setup():
    from genre_jax.data.audio import read_blocks

    paths = _files(kind)

    def run():
      for path in paths:
        for _ in read_blocks(path, rate):
          pass

    return run

  return setup


def musicnn_package(kind: str):
  """Return the setup of what musicnn's package does, one segment at a time in TensorFlow."""

  def setup():
    from benchmarks.musicnn_original import original_graph
    from genre_jax.files import cache_dir
    from genre_jax.inference import published_weights
    from genre_jax.inference.published import MUSICNN as WHEEL

    wheel = published_weights.obtain_wheel(cache_dir() / "downloads", WHEEL)
    paths, network = _files(kind), original_graph(wheel, "MSD_musicnn")

    def run():
      return np.array(
        [
          np.mean([network(segment[None])[0] for segment in _librosa_segments(path, np.float16)], 0)
          for path in paths
        ]
      )

    return run

  return setup


def onnx_runtime(kind: str):
  """Return the setup of soundfile, librosa and ONNX Runtime with musicnn's network."""

  def setup():
    from benchmarks.onnx_network import session

    graph = pathlib.Path(tempfile.mkdtemp()) / "network.onnx"
    command = ["-m", "benchmarks.onnx_network", MUSICNN, str(SEGMENTS), str(graph)]
    subprocess.run([python_of("onnx"), *command], cwd=ROOT, check=True, capture_output=True)
    paths, network = _files(kind), session(graph.read_bytes())

    def tags(path):
      segments, logits = _librosa_segments(path, np.float32), []
      for first in range(0, len(segments), SEGMENTS):
        rows = np.minimum(np.arange(first, first + SEGMENTS), len(segments) - 1)
        logits.append(network(segments[rows])[: len(segments) - first])
      return (1 / (1 + np.exp(-np.concatenate(logits)))).mean(0)

    return lambda: np.array([tags(path) for path in paths])

  return setup


def _librosa_segments(path, dtype) -> np.ndarray:
  """Return float32[segments, 187, 96], the log-mel of a file by librosa; power as `dtype`."""
  import librosa

  audio, _ = librosa.load(path, sr=16000)  # by soundfile and soxr
  power = librosa.feature.melspectrogram(y=audio, sr=16000, n_fft=512, hop_length=256, n_mels=96)
  frames = np.log10(10000 * power.T.astype(dtype).astype(np.float32) + 1)
  count = len(frames) // 187
  return frames[: count * 187].reshape(count, 187, 96)


def _files(kind):
  root = pathlib.Path(tempfile.mkdtemp())
  write_files(root, kind.lower(), RATE, channels=2, count=1, seconds=SECONDS)
  return sorted(map(str, root.glob("*/*")))


def _labels(kind):
  """Return the names of the contenders of a case: {meaning: name}."""
  return {
    "whole": f"file to labels, {DEFAULT} ({kind})",
    "excerpts": f"two excerpts, {DEFAULT} ({kind})",
    "decoding": f"decode and resample to 16 kHz ({kind})",
    "small": f"file to labels, {SMALL} ({kind})",
    "small decoding": f"decode and resample to 22.05 kHz ({kind})",
    "musicnn": f"file to tags, {MUSICNN} ({kind})",
    "package": f"the musicnn package: librosa, TensorFlow ({kind})",
    "onnx": f"soundfile, librosa, ONNX Runtime ({kind})",
  }


def _contenders():
  for kind in FORMATS:
    name = _labels(kind)
    other = f"{kind}, musicnn"

    def ours(setup, case, **more):
      return Contender("genre_jax", setup, role="ours", case=case, **more)

    def floor(setup, case=kind):
      return Contender("genre_jax", setup, role="floor", case=case)

    yield name["whole"], ours(whole(kind, DEFAULT), kind)
    # Another part of the sound: only equal in the number of labels.
    yield name["excerpts"], ours(whole(kind, DEFAULT, 2), kind, tolerance=1.0)
    yield name["decoding"], floor(decode_and_resample(kind, 16000))
    yield name["small"], ours(whole(kind, SMALL), f"{kind}, {SMALL}")
    yield name["small decoding"], floor(decode_and_resample(kind, 22050), f"{kind}, {SMALL}")
    yield name["musicnn"], ours(whole(kind, MUSICNN), other)
    yield name["package"], Contender("genre_jax", musicnn_package(kind), TOLERANCE, case=other)
    yield name["onnx"], Contender("peers", onnx_runtime(kind), TOLERANCE, case=other)


CONTENDERS = dict(_contenders())


def remarks(outcomes) -> list[str]:
  """Return tracks/s of one core, and the ratios of the target."""
  lines = []
  for (case, _), outcome in outcomes.items():
    name = _labels(case.partition(",")[0])
    for key, compared in (
      ("whole", (("whole", "decoding"), ("whole", "excerpts"))),
      ("small", (("small", "small decoding"),)),
      ("musicnn", (("package", "musicnn"), ("onnx", "musicnn"))),
    ):
      if name[key] in outcome.times:
        rate = 1 / np.median(outcome.times[name[key]])
        ratios = [
          f"time of {name[a]} / {name[b]} {format_ratio(outcome.ratio(name[a], name[b]))}"
          for a, b in compared
        ]
        lines.append("; ".join([f"{name[key]}: {rate:.2f} tracks/s", *ratios]))
  return lines
