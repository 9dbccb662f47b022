"""Inference of the packaged network on 30 s of log-mel, against ONNX Runtime."""

import numpy as np

from benchmarks.harness import Contender, format_ratio
from benchmarks.synthetic_audio import music
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import log_mel
from genre_jax.data.pipeline import segment_starts

TITLE = "Inference: 30 s of log-mel to logits, axis_features_10"
TARGET = "at least as fast as ONNX Runtime with the same network, batch 1 and 64"
THREADS = ("one", "all")
SEGMENTS = 4  # per clip of 30 s, as in evaluation
BATCHES = (1, 64)


def segments_of(batch: int, frontend: FrontendConfig) -> np.ndarray:
  """Return float32[4 * batch, time, frequency], segments of synthetic clips of 30 s."""
  parts = []
  for seed in range(batch):
    frames = log_mel(music(30.0, frontend.sample_rate, seed % 8), frontend)
    starts = segment_starts(len(frames), frontend.num_frames, SEGMENTS)
    parts += [frames[start : start + frontend.num_frames] for start in starts]
  return np.stack(parts)


def of_genre_jax(batch: int):
  """Return the setup of `Model.logits`, the compiled network."""

  def setup():
    from genre_jax.inference.model import load

    model = load("axis_features_10")
    segments = segments_of(batch, model.frontend)
    num_frames = np.full(len(segments), model.frontend.num_frames)
    return lambda: model.logits(segments, num_frames)

  return setup


def of_onnx_runtime(batch: int):
  """Return the setup of ONNX Runtime with a graph of fixed size, written by jax2onnx."""

  def setup():
    from benchmarks.onnx_network import graph, session
    from genre_jax.inference.model import load

    segments = segments_of(batch, load("axis_features_10").frontend)
    run = session(graph("axis_features_10", len(segments)))
    return lambda: run(segments)

  return setup


def _contenders():
  for batch in BATCHES:
    case = f"batch {batch}"
    yield (
      f"genre_jax ({case})",
      Contender("genre_jax", of_genre_jax(batch), role="ours", case=case),
    )
    yield f"ONNX Runtime ({case})", Contender("onnx", of_onnx_runtime(batch), 1e-3, case=case)


CONTENDERS = dict(_contenders())


def remarks(outcomes) -> list[str]:
  """Return the ratios of the target."""
  return [
    f"{case}, {threads} core{'s' * (threads == 'all')}: ONNX Runtime's time / ours "
    + format_ratio(outcome.ratio(f"ONNX Runtime ({case})", f"genre_jax ({case})"))
    for (case, threads), outcome in outcomes.items()
  ]
