"""Training steps, batch inference and log-mel on one GPU: the suite of `gpu.py`.

Inputs are on the device before the clock starts, and an output is on the host when it stops.
"""

import os

import numpy as np

from benchmarks.harness import Contender
from benchmarks.suites import log_mel, train_step
from benchmarks.synthetic_audio import music

TITLE = "One GPU"
TARGET = "as fast as PyTorch"
THREADS = ("all",)
SMALL = "GENRE_JAX_BENCH_SMALL"  # environment variable of the workers, which take no flags
SECONDS = 10.0  # of a clip
NETWORKS = ("split_cnn", "axis_features", "baseline")


def size(count: int) -> int:
  """Return a number of segments or clips, an eighth of it for a trial."""
  return count // 8 if SMALL in os.environ else count


def settings_of(name):
  """Return the settings of a training step with a batch for a GPU."""
  return {**train_step.NETWORKS[name], "batch": size(512)}


def torch_device():
  """Return the device that torch uses."""
  import torch

  return "cuda" if torch.cuda.is_available() else "cpu"


def our_inference(name):
  """Set up the network in JAX with its initial weights; returns logits."""
  import jax

  from genre_jax.models.registry import build_model

  settings = {**settings_of(name), "batch": size(2048)}
  segments = jax.device_put(train_step.batch(settings)[0])
  network = build_model({"name": name}, train_step.CLASSES, "float32")
  variables = network.init(jax.random.key(0), segments[:1, ..., None])
  params = jax.tree_util.tree_map_with_path(
    lambda path, x: train_step.draw("/".join(key.key for key in path), x.shape), variables["params"]
  )
  variables = jax.device_put({**variables, "params": params})
  predict = jax.jit(lambda segments: network.apply(variables, segments[..., None]))
  return lambda: np.asarray(predict(segments))


def torch_inference(name, compiled):
  """Set up the same network in PyTorch."""
  import torch

  from benchmarks.torch_networks import Training

  settings = {**settings_of(name), "batch": size(2048)}
  training = Training(
    name, *train_step.batch(settings), settings, train_step.draw, False, True, torch_device()
  )
  network = training.network.eval()
  predict = torch.compile(network) if compiled else network

  @torch.inference_mode()
  def run():
    return predict(training.x).cpu().numpy()

  return run


def clips():
  """Return float32[clips, samples]."""
  rate = log_mel.FRONTEND.sample_rate
  return np.stack([music(SECONDS, rate, seed) for seed in range(size(64))])


def our_log_mel():
  """Set up `log_mel_jax`; returns the mean over time, so that little is copied to the host."""
  import jax

  from genre_jax.data.log_mel import log_mel_jax

  audio = jax.device_put(clips())
  compute = jax.jit(lambda audio: log_mel_jax(audio, log_mel.FRONTEND).mean(1))
  return lambda: np.asarray(compute(audio))


def torch_log_mel():
  """Set up torch.stft and a product with the mel filters."""
  import torch

  arrays = (
    clips(),
    log_mel.stft_window(log_mel.FRONTEND),
    log_mel.mel_filterbank(log_mel.FRONTEND),
  )
  audio, window, filters = (torch.from_numpy(x).to(torch_device()) for x in arrays)

  @torch.inference_mode()
  def run():
    return log_mel.log_mel_torch(audio, window, filters).mean(2).cpu().numpy()

  return run


def contenders():
  """Yield the contenders of all cases by name."""
  for name in NETWORKS:
    case = f"training step, {name}"
    yield (
      f"genre_jax, {case}",
      Contender(
        "genre_jax",
        lambda name=name: train_step.ours(name, settings_of(name)),
        role="ours",
        case=case,
      ),
    )
    for kind in ("eager", "compiled"):
      yield (
        f"PyTorch {kind}, {case}",
        Contender(
          "peers",
          lambda name=name, kind=kind: train_step.torch(
            name, settings_of(name), kind == "compiled", True, torch_device()
          ),
          2e-2,
          case=case,
        ),
      )
  for name in NETWORKS:
    case = f"inference, {name}"
    yield (
      f"genre_jax, {case}",
      Contender("genre_jax", lambda name=name: our_inference(name), role="ours", case=case),
    )
    for kind in ("eager", "compiled"):
      yield (
        f"PyTorch {kind}, {case}",
        Contender(
          "peers",
          lambda name=name, kind=kind: torch_inference(name, kind == "compiled"),
          2e-2,
          case=case,
        ),
      )
  case = "log-mel"
  yield f"genre_jax, {case}", Contender("genre_jax", our_log_mel, role="ours", case=case)
  yield f"PyTorch, {case}", Contender("peers", torch_log_mel, 5e-2, case=case)


CONTENDERS = dict(contenders())
