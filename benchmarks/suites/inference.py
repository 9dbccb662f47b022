"""Inference of the packaged network on 30 s of log-mel, against ONNX Runtime."""

import numpy as np

from benchmarks.harness import Contender, cores, format_ratio
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
    import absl.logging
    import jax
    import jax.numpy as jnp
    import onnxruntime
    from jax.extend.core import jaxpr_as_fun
    from jax2onnx import to_onnx

    from genre_jax.inference.model import load
    from genre_jax.inference.onnx_graph import OPSET

    absl.logging.set_verbosity(absl.logging.ERROR)  # it logs each step of the conversion
    model = load("axis_features_10")
    segments = segments_of(batch, model.frontend)

    def network(log_mel):
      return model.network.apply(model.variables, log_mel[..., None])

    # Traced first; `inference/onnx_graph.py` explains why.
    traced = jaxpr_as_fun(
      jax.make_jaxpr(network)(jax.ShapeDtypeStruct(segments.shape, jnp.float32))
    )
    graph = to_onnx(
      lambda log_mel: traced(log_mel)[0],
      [segments.shape],
      model_name="network",
      opset=OPSET,
      input_names=["log_mel"],
      output_names=["logits"],
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    inference = onnxruntime.InferenceSession(
      graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: inference.run(None, {"log_mel": segments})[0]

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
