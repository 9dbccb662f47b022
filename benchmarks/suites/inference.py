"""The packaged network on 30 s of log-mel, against ONNX Runtime with the same network."""

import numpy as np

from benchmarks.harness import Contestant, cores, format_ratio
from benchmarks.synthetic_audio import music
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import log_mel
from genre_jax.data.pipeline import segment_starts

TITLE = "Inference: 30 s of log-mel to logits, axis_features_10"
TARGET = "at least as fast as ONNX Runtime with the same network, batch 1 and 64"
THREADS = ("one", "all")
WINDOWS = 4  # of a clip of 30 s, as in evaluation
BATCHES = (1, 64)


def windows(batch: int, frontend: FrontendConfig) -> np.ndarray:
  """float32[4 * batch, time, frequency] of clips of 30 s."""
  parts = []
  for seed in range(batch):
    frames = log_mel(music(30.0, frontend.sample_rate, seed % 8), frontend)
    starts = segment_starts(len(frames), frontend.num_frames, WINDOWS)
    parts += [frames[start : start + frontend.num_frames] for start in starts]
  return np.stack(parts)


def of_genre_jax(batch: int):
  """`Model.logits`: the compiled network."""

  def setup():
    from genre_jax.inference.model import load

    model = load("axis_features_10")
    asked = windows(batch, model.frontend)
    num_frames = np.full(len(asked), model.frontend.num_frames)
    return lambda: model.logits(asked, num_frames)

  return setup


def of_onnx_runtime(batch: int):
  """The network alone as a graph of fixed size, made here with jax2onnx."""

  def setup():
    import absl.logging
    import jax
    import jax.numpy as jnp
    import onnxruntime
    from jax.extend.core import jaxpr_as_fun
    from jax2onnx import to_onnx

    from genre_jax.inference.model import load
    from genre_jax.inference.onnx_graph import OPSET

    absl.logging.set_verbosity(absl.logging.ERROR)  # it tells how it converts
    model = load("axis_features_10")
    asked = windows(batch, model.frontend)

    def network(log_mel):
      return model.network.apply(model.variables, log_mel[..., None])

    # Traced first, as `inference/onnx_graph.py` does and says why.
    traced = jaxpr_as_fun(jax.make_jaxpr(network)(jax.ShapeDtypeStruct(asked.shape, jnp.float32)))
    graph = to_onnx(
      lambda log_mel: traced(log_mel)[0],
      [asked.shape],
      model_name="network",
      opset=OPSET,
      input_names=["log_mel"],
      output_names=["logits"],
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    experiment = onnxruntime.InferenceSession(
      graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: experiment.run(None, {"log_mel": asked})[0]

  return setup


def _contestants():
  for batch in BATCHES:
    case = f"batch {batch}"
    yield (
      f"genre_jax ({case})",
      Contestant("genre_jax", of_genre_jax(batch), role="ours", case=case),
    )
    yield f"ONNX Runtime ({case})", Contestant("onnx", of_onnx_runtime(batch), 1e-3, case=case)


CONTESTANTS = dict(_contestants())


def remarks(outcomes) -> list[str]:
  """The ratios of the target."""
  return [
    f"{case}, {threads} core{'s' * (threads == 'all')}: ONNX Runtime's time / ours "
    + format_ratio(outcome.ratio(f"ONNX Runtime ({case})", f"genre_jax ({case})"))
    for (case, threads), outcome in outcomes.items()
  ]
