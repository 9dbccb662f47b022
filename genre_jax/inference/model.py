"""Load a trained network and compute calibrated class probabilities of log-mel segments.

Prediction of files, streaming, exports and the web page all use `Model`, so that one network gives
the same probabilities everywhere.
"""

import dataclasses
import functools
import os
import pathlib
import threading
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.source import TASKS
from genre_jax.errors import UserError
from genre_jax.evaluation.calibration import apply_temperature
from genre_jax.evaluation.metrics import sigmoid, softmax
from genre_jax.inference import kept_programs, model_dir
from genre_jax.models.registry import build_model

UNKNOWN = "unknown"
THRESHOLD = 0.5  # probability from which a tag counts, for models without thresholds
# Segments per batch, for models that do not fix the segments of a track. Larger batches are slower
# on CPU (docs/results/speed-notes.md).
BATCH_SIZE = 4
MAX_BATCH_SIZE = 32
FEW = 3  # segments that such models get one by one, as of a short file or a stream


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  """A network with its weights and the description of its input and output.

  Attributes:
    name: Name of the model.
    network: The Flax module.
    variables: Parameters and batch statistics.
    frontend: The front end that computes the network's input.
    classes: Genres or tags, in the order of the outputs.
    task: 'single_label' (one genre, softmax) or 'multi_label' (a sigmoid for each tag).
    temperature: See `apply_temperature`.
    thresholds: For 'multi_label', the probability from which each tag counts.
    least: For 'multi_label', the probability from which each tag counts if no tag reaches its
      threshold; then the most probable of these is the only one. Empty if none does.
    eval_per_track: Segments of a track in evaluation; 0 for adjacent segments.
    provenance: Origin of the weights: 'source', 'trained_on', 'license' and others.
    programs: Folder of the traced programs of `infer`; None if they are not kept.
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
  least: tuple[float, ...] = ()
  programs: pathlib.Path | None = None
  _traced: dict = dataclasses.field(default_factory=dict, init=False, repr=False)
  _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock, init=False, repr=False)

  def infer(self, log_mel: np.ndarray, num_frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute probabilities and embeddings of segments, in batches of one or two sizes.

    Args:
      log_mel: float32[segments, time, frequency].
      num_frames: int[segments], frames of each segment that are not padding.

    Returns:
      float64[segments, classes], probabilities before the temperature, and
      float32[segments, features], the penultimate layer. `features` is 0 if the network does not
      expose that layer.
    """
    size = min(self.eval_per_track, MAX_BATCH_SIZE) or BATCH_SIZE
    probabilities, embeddings = [], []
    start = 0
    while start < len(log_mel):
      left = len(log_mel) - start
      if not self.eval_per_track and left <= FEW:
        size = 1
      # Fill the last batch: each batch size needs a compiled program.
      rows = np.minimum(np.arange(start, start + size), len(log_mel) - 1)
      arguments = self.variables, log_mel[rows, ..., None], num_frames[rows]
      logits, embedding = self._program(arguments)(*arguments)
      count = min(size, left)
      probabilities.append(self.probabilities(np.asarray(logits)[:count]))
      embeddings.append(np.asarray(embedding)[:count])
      start += count
    return np.concatenate(probabilities), np.concatenate(embeddings)

  def logits(self, log_mel: np.ndarray, num_frames: np.ndarray) -> np.ndarray:
    """Compute logits; compiles a program for each shape.

    Args:
      log_mel: float32[segments, time, frequency].
      num_frames: int[segments], frames of each segment that are not padding.

    Returns:
      float32[segments, classes].
    """
    return np.asarray(self._apply(self.variables, log_mel[..., None], num_frames)[0])

  def probabilities(self, logits: np.ndarray) -> np.ndarray:
    """Return probabilities of logits before the temperature, float64[..., classes]."""
    return softmax(logits) if self.task == "single_label" else sigmoid(logits)

  def calibrated(self, probabilities: np.ndarray) -> np.ndarray:
    """Apply the model's temperature to probabilities, float64[..., classes]."""
    if self.task == "single_label":
      return apply_temperature(probabilities, self.temperature)
    both = np.stack([probabilities, 1 - probabilities], -1)
    return apply_temperature(both, self.temperature)[..., 0]

  def decide_label(
    self, probabilities: np.ndarray, min_confidence: float = 0.0
  ) -> tuple[str, float]:
    """Choose the label for calibrated probabilities.

    Args:
      probabilities: float64[classes].
      min_confidence: Below this probability a genre is 'unknown' and a tag is left out.

    Returns:
      The genre, 'unknown', or the tags at or above their thresholds joined by ';', the most
      probable one first; and the highest probability.
    """
    best = int(probabilities.argmax())
    confidence = float(probabilities[best])
    if self.task == "single_label":
      return (self.classes[best] if confidence >= min_confidence else UNKNOWN), confidence
    thresholds = np.maximum(self.thresholds, min_confidence)
    order = np.argsort(-probabilities, kind="stable")
    tags = [self.classes[i] for i in order if probabilities[i] >= thresholds[i]]
    if not tags and self.least:
      least = np.maximum(self.least, min_confidence)
      tags = [self.classes[i] for i in order if probabilities[i] >= least[i]][:1]
    return ";".join(tags) or UNKNOWN, confidence

  def _program(self, arguments):
    """Return the program of `_apply` for arguments of these shapes."""
    if self.programs is None:
      return self._apply
    key = tuple((array.shape, array.dtype) for array in arguments[1:])
    with self._lock:
      if key not in self._traced:
        self._traced[key] = kept_programs.traced(self._apply, self.programs, *arguments)
      return self._traced[key]

  @functools.cached_property
  def _apply(self):
    def apply(variables, log_mel, num_frames):
      mask = jnp.arange(log_mel.shape[1])[None] < num_frames[:, None]
      logits, state = self.network.apply(variables, log_mel, mask, mutable=["intermediates"])
      embedding = state.get("intermediates", {}).get("embedding", (jnp.zeros((len(log_mel), 0)),))
      return logits, embedding[0]

    return jax.jit(apply)


def compute_in_calling_thread() -> None:
  """Let a network run in the thread that calls it, not in XLA's; called before JAX has started.

  With a song in each thread, that uses cores better than a song in all threads.
  """
  flags = os.environ.get("XLA_FLAGS", "")
  if "xla_cpu_multi_thread_eigen" not in flags:
    os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
  jax.config.update("jax_cpu_enable_async_dispatch", False)


def load(name: str | Model = model_dir.DEFAULT_MODEL, labels: str = "") -> Model:
  """Load a model.

  Args:
    name: A value of --model (see `model_dir.find_model`), or a Model, which is returned unchanged.
    labels: One of the label sets of the model, as 'gtzan'; '' for its own.

  Raises:
    UserError: If there is no such model or label set, or its description and weights are
      inconsistent.
  """
  if isinstance(name, Model):
    return name
  metadata, variables = model_dir.find_model(str(name))
  sets = variables.pop("label_sets", {})
  if labels and labels != metadata.get("label_set"):
    described = metadata.get("label_sets", {})
    if labels not in described or labels not in sets:
      there_are = ", ".join(filter(None, [metadata.get("label_set"), *described])) or "none"
      raise UserError(f"--labels={labels}: --model={name} has no such labels; it has: {there_are}")
    metadata = {**metadata, **described[labels]}
    variables["params"]["head"] = sets[labels]
  try:
    classes = tuple(map(str, metadata["classes"]))
    if not classes or len(set(classes)) < len(classes):
      raise ValueError("classes is empty or contains a name twice")
    if metadata["task"] not in TASKS:
      raise ValueError(f"task is {metadata['task']!r}, not one of {', '.join(TASKS)}")
    temperature = float(metadata.get("temperature", 1.0))
    if not 0 < temperature < float("inf"):
      raise ValueError(f"temperature is {temperature}, not a positive number")
    thresholds = tuple(map(float, metadata.get("thresholds", [THRESHOLD] * len(classes))))
    least = metadata.get("least", ())  # one number for all, or one for each
    least = [least] * len(classes) if isinstance(least, (int, float)) else least
    least = tuple(map(float, least))
    for key, values in (("thresholds", thresholds), ("least", least or classes)):
      if len(values) != len(classes):
        raise ValueError(f"{len(values)} {key} for {len(classes)} classes")
    frontend = FrontendConfig.from_dict(metadata["frontend"])
    network = build_model(metadata["model"], len(classes))
    programs = kept_programs.folder_of(metadata)
    if programs is None or not programs.exists():  # else an earlier process has checked this model
      _check_shapes(network, frontend, variables)
    if hasattr(network, "for_inference"):
      network = network.for_inference(variables["params"])
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
      least=least,
      programs=programs,
    )
  except Exception as error:  # a value of any type can be anywhere in the description
    reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    raise UserError(f"--model={name}: model.json is inconsistent: {reason}") from error


def variable_shapes(network: nn.Module, frontend: FrontendConfig) -> dict[str, tuple[int, ...]]:
  """Return the shapes of a network's variables without computing them.

  Args:
    network: The Flax module.
    frontend: The front end, which fixes the shape of a segment.

  Returns:
    {'params/...' or 'batch_stats/...': shape}.
  """
  segment = jax.ShapeDtypeStruct((1, frontend.num_frames, frontend.n_mels, 1), jnp.float32)
  shapes = jax.eval_shape(network.init, jax.random.key(0), segment)
  kept = {name: shapes[name] for name in ("params", "batch_stats") if name in shapes}
  return {name: leaf.shape for name, leaf in flatten_dict(kept, sep="/").items()}


def _check_shapes(network: nn.Module, frontend: FrontendConfig, variables: dict[str, Any]) -> None:
  """Raise ValueError unless the variables are finite and have the shapes of the network."""
  expected = variable_shapes(network, frontend)
  stored = flatten_dict(variables, sep="/")
  if unmatched := sorted(expected.keys() ^ stored.keys()):
    raise ValueError(f"weights missing or left over: {', '.join(unmatched[:3])}")
  for name, shape in expected.items():
    if stored[name].shape != shape:
      raise ValueError(f"{name} has shape {stored[name].shape}, the network needs {shape}")
    if not np.isfinite(stored[name]).all():
      raise ValueError(f"{name} contains NaN or infinity")
