"""A trained network, loaded once: windows of log-mel in, calibrated probabilities out.

Second step of inference, after `model_dir.py`. What predicts, streams, exports and shows all asks a
`Model`, so that one network gives one answer everywhere.
"""

import dataclasses
import functools
import hashlib
import os
import platform
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.source import TASKS
from genre_jax.errors import UserError
from genre_jax.evaluation.calibration import apply_temperature
from genre_jax.evaluation.metrics import sigmoid, softmax
from genre_jax.inference import model_dir
from genre_jax.models.registry import build_model

UNKNOWN = "unknown"
THRESHOLD = 0.5  # of a tag where the model has none of its own
BATCH = 8  # windows asked at once where the model does not say how many a track has


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  """What a model directory holds, built.

  Attributes:
    name: as it is called.
    network: the Flax module.
    variables: its parameters and batch statistics.
    recipe: how sound becomes its input.
    classes: genres or tags, in the order of its outputs.
    task: 'single_label' (one genre, softmax) or 'multi_label' (tags, a sigmoid each).
    temperature: see `apply_temperature`.
    thresholds: probability from which each tag counts, for 'multi_label'.
    eval_per_track: windows of a track; 0 for as many as fit side by side.
    provenance: where the weights come from: 'source', 'trained_on', 'license', ...
  """

  name: str
  network: nn.Module
  variables: dict[str, Any]
  frontend: FrontendConfig
  classes: tuple[str, ...]
  task: str
  temperature: float
  thresholds: tuple[float, ...]
  eval_per_track: int
  provenance: dict[str, Any]

  def infer(self, log_mel: np.ndarray, num_frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Asks the network about windows.

    Args:
      log_mel: float32[windows, time, frequency].
      num_frames: int[windows]; frames beyond are padding.
    Returns:
      float64[windows, classes], probabilities without temperature, and float32[windows, features],
      the penultimate layer (no features where the network shows none).
    """
    size = min(self.eval_per_track, 32) or BATCH
    probabilities, embeddings = [], []
    for at in range(0, len(log_mel), size):
      # One size of batch, so that one program is compiled.
      rows = np.minimum(np.arange(at, at + size), len(log_mel) - 1)
      logits, embedding = self._apply(self.variables, log_mel[rows, ..., None], num_frames[rows])
      count = min(size, len(log_mel) - at)
      probabilities.append(self.probabilities(np.asarray(logits)[:count]))
      embeddings.append(np.asarray(embedding)[:count])
    return np.concatenate(probabilities), np.concatenate(embeddings)

  def logits(self, log_mel: np.ndarray, num_frames: np.ndarray) -> np.ndarray:
    """float32[windows, classes] of float32[windows, time, frequency]; compiled for each shape."""
    return np.asarray(self._apply(self.variables, log_mel[..., None], num_frames)[0])

  def probabilities(self, logits: np.ndarray) -> np.ndarray:
    """float64[..., classes] of logits, without temperature."""
    return softmax(logits) if self.task == "single_label" else sigmoid(logits)

  def calibrated(self, probabilities: np.ndarray) -> np.ndarray:
    """float64[..., classes] with the model's temperature, of a track or of a moment."""
    if self.task == "single_label":
      return apply_temperature(probabilities, self.temperature)
    both = np.stack([probabilities, 1 - probabilities], -1)
    return apply_temperature(both, self.temperature)[..., 0]

  def decide_label(
    self, probabilities: np.ndarray, min_confidence: float = 0.0
  ) -> tuple[str, float]:
    """What is said of calibrated probabilities, float64[classes].

    Returns:
      The genre, 'unknown' below `min_confidence`, or the tags above their thresholds joined by
      ';'; and the highest probability.
    """
    best = int(probabilities.argmax())
    confidence = float(probabilities[best])
    if self.task == "single_label":
      return (self.classes[best] if confidence >= min_confidence else UNKNOWN), confidence
    least = np.maximum(self.thresholds, min_confidence)
    order = np.argsort(-probabilities, kind="stable")
    tags = [self.classes[i] for i in order if probabilities[i] >= least[i]]
    return ";".join(tags) or UNKNOWN, confidence

  @functools.cached_property
  def _apply(self):
    def apply(variables, log_mel, num_frames):
      mask = jnp.arange(log_mel.shape[1])[None] < num_frames[:, None]
      logits, seen = self.network.apply(variables, log_mel, mask, mutable=["intermediates"])
      embedding = seen.get("intermediates", {}).get("embedding", (jnp.zeros((len(log_mel), 0)),))
      return logits, embedding[0]

    return jax.jit(apply)


def load(name: str | Model = model_dir.DEFAULT_MODEL) -> Model:
  """The model that --model means (see `model_dir.find_model`); a Model is given back as it is.

  Raises:
    UserError: if there is none such, or what it holds does not fit together.
  """
  if isinstance(name, Model):
    return name
  metadata, variables = model_dir.find_model(str(name))
  try:
    classes = tuple(map(str, metadata["classes"]))
    if not classes or len(set(classes)) < len(classes):
      raise ValueError("its classes are none, or some are named twice")
    if metadata["task"] not in TASKS:
      raise ValueError(f"its task is {metadata['task']!r}, this program knows {', '.join(TASKS)}")
    temperature = float(metadata.get("temperature", 1.0))
    if not 0 < temperature < float("inf"):
      raise ValueError(f"its temperature is {temperature}")
    thresholds = tuple(map(float, metadata.get("thresholds", [THRESHOLD] * len(classes))))
    if len(thresholds) != len(classes):
      raise ValueError(f"it has {len(thresholds)} thresholds for {len(classes)} classes")
    frontend = FrontendConfig.from_dict(metadata["frontend"])
    network = build_model(metadata["model"], len(classes))
    _check_shapes(network, frontend, variables)
    return Model(
      name=str(metadata["name"]),
      network=network,
      variables=jax.device_put(variables),
      frontend=frontend,
      classes=classes,
      task=metadata["task"],
      temperature=temperature,
      thresholds=thresholds,
      eval_per_track=max(0, int(metadata.get("eval_per_track", 0))),
      provenance=dict(metadata.get("provenance", {})),
    )
  except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
    reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    raise UserError(f"--model={name}: its description does not hold together: {reason}") from error


def _check_shapes(network: nn.Module, frontend: FrontendConfig, variables: dict[str, Any]) -> None:
  """Raises ValueError unless the variables are finite and those of the network."""
  window = jax.ShapeDtypeStruct((1, frontend.num_frames, frontend.n_mels, 1), jnp.float32)
  wanted = jax.eval_shape(network.init, jax.random.key(0), window)
  wanted = model_dir.flat(
    {name: wanted[name] for name in ("params", "batch_stats") if name in wanted}
  )
  there = model_dir.flat(variables)
  if odd := sorted(wanted.keys() ^ there.keys()):
    raise ValueError(f"weights missing or left over: {', '.join(odd[:3])}")
  for name, value in wanted.items():
    if there[name].shape != value.shape:
      raise ValueError(f"{name} has shape {there[name].shape}, the network needs {value.shape}")
    if not np.isfinite(there[name]).all():
      raise ValueError(f"{name} holds NaN or infinity")


def keep_compiled_programs() -> None:
  """Has XLA keep what it compiles in the user's cache, so that the next start is quick."""
  if jax.config.jax_compilation_cache_dir:
    return
  # A program for one processor may not run on another that shares the home folder.
  try:
    with open("/proc/cpuinfo") as lines:
      flags = next(line for line in lines if line.startswith(("flags", "Features")))
  except (OSError, StopIteration):
    flags = platform.processor()
  kind = hashlib.sha256(f"{platform.machine()} {jax.__version__} {flags}".encode()).hexdigest()[:12]
  folder = model_dir.default_cache() / "compiled" / kind
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError:
    return
  if os.access(folder, os.W_OK):
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
