"""A model for use elsewhere: waveform in, probabilities out, in one file without this package.

`stablehlo` is a zip of a module of `jax.export` for CPU, CUDA and TPU, of any batch size and
length, and metadata.json; `tflite` is a FlatBuffer and `onnx` a graph of one length. Log-mel,
windows, network and temperature are inside, and an export is written when it answers as the model
does.
"""

import dataclasses
import fractions
import json
import os
import pathlib
import tempfile
import warnings
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import genre_jax
from genre_jax.data.audio import UnreadableAudio, read_audio
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.log_mel import log_mel, log_mel_jax
from genre_jax.data.pipeline import segment_starts
from genre_jax.errors import UserError
from genre_jax.inference import model_dir
from genre_jax.inference.model import Model, load
from genre_jax.inference.spectra import stack_windows

FORMATS = ("stablehlo", "tflite", "onnx")
PLATFORMS = ("cpu", "cuda", "tpu")
LARGEST_DIFFERENCE = 1e-3
WINDOWS = 8  # of a track where the model takes as many as fit: a graph has a number
MAX_WINDOWS = 1000
MAX_SECONDS = 120.0


@dataclasses.dataclass(frozen=True)
class Export:
  """What was written: where, and how far it is from the model on the sounds it was checked on."""

  path: pathlib.Path
  difference: float
  checked: tuple[str, ...]
  metadata: dict[str, Any]


def waveform_function(model: Model, windows: int):
  """The function that is exported: float32[batch, samples] to float32[batch, classes].

  What `predict` computes: evenly spaced windows of the clip, the mean of their probabilities, the
  temperature. The number of samples may be symbolic.
  """
  frontend = model.frontend
  every_frame = dataclasses.replace(frontend, frame_stride=1.0)
  stride = _stride(frontend)
  variables = jax.tree.map(np.asarray, model.variables)

  def probabilities(audio):
    decibels = log_mel_jax(audio, every_frame)
    index, valid, weight = _windows(decibels.shape[1], frontend.num_frames, stride, windows)
    # Padding is silence as far as the clip knows it: the least value of what is kept of a clip that
    # is shorter than a window.
    pieces = jnp.take(decibels, index.reshape(-1), axis=1).reshape(
      -1, windows, frontend.num_frames, frontend.n_mels
    )
    mask = valid[None, :, :, None]
    least = jnp.min(jnp.where(mask, pieces, jnp.inf), axis=(2, 3), keepdims=True)
    pieces = jnp.where(mask, pieces, least)
    masks = jnp.broadcast_to(valid[None], pieces.shape[:3])
    logits = model.network.apply(
      variables,
      pieces.reshape(-1, frontend.num_frames, frontend.n_mels, 1),
      masks.reshape(-1, frontend.num_frames),
    )
    single = model.task == "single_label"
    prediction = jax.nn.softmax(logits) if single else jax.nn.sigmoid(logits)
    prediction = prediction.reshape(-1, windows, len(model.classes))
    prediction = (prediction * weight[None, :, None]).sum(1) / weight.sum()
    if model.temperature == 1.0:
      return prediction
    power = 1.0 / model.temperature
    odds = jnp.maximum(prediction, 1e-30) ** power
    if single:
      return odds / odds.sum(-1, keepdims=True)
    return odds / (odds + jnp.maximum(1 - prediction, 1e-30) ** power)

  return probabilities


def _stride(frontend: FrontendConfig) -> fractions.Fraction:
  """frame_stride as a ratio of whole numbers, so that no rounding moves a frame."""
  stride = fractions.Fraction(frontend.frame_stride).limit_denominator(1000)
  number = np.arange(100_000)
  indices = (2 * number + 1) * stride.numerator // (2 * stride.denominator)
  if (indices != np.floor((number + 0.5) * frontend.frame_stride)).any():
    raise UserError(
      f"this model keeps one frame in {frontend.frame_stride}, which is no ratio of"
      " small numbers; train it with another --config.frontend.frame_stride"
      " to export it"
    )
  return stride


def _windows(stft_frames, length: int, stride: fractions.Fraction, windows: int):
  """Which STFT frames stand in the windows of a clip, as `segment_starts` and the recipe say.

  Args:
    stft_frames: of the clip; a number, or symbolic.
    length: frames of a window.
    stride: STFT frames per kept frame.
    windows: how many.
  Returns:
    int32[windows, length], bool[windows, length] (False where there is no such frame), and
    float32[windows], 0 for a window that is there already.
  """
  # Of a number these are constants of the graph.
  xp = np if isinstance(stft_frames, int) else jnp
  count = xp.asarray(stft_frames, xp.int32)
  p, q = stride.numerator, stride.denominator
  kept = xp.maximum((2 * q * count + p - 1) // (2 * p), 1)
  room = xp.maximum(kept - length, 0)
  order = np.arange(windows, dtype=np.int32)
  starts = order * room // (windows - 1) if windows > 1 else room[None] // 2
  weight = xp.concatenate([xp.ones(1, bool), starts[1:] != starts[:-1]])
  number = starts[:, None] + np.arange(length, dtype=np.int32)[None]
  index = xp.minimum((2 * number + 1) * p // (2 * q), count - 1)
  return index.astype(xp.int32), number < kept, weight.astype(xp.float32)


def offline(model: Model, audio: np.ndarray, windows: int) -> np.ndarray:
  """What `predict` says of float32[samples] with so many windows, float64[classes]."""
  frames = log_mel(audio, model.frontend)
  length = model.frontend.num_frames
  starts = segment_starts(len(frames), length, windows)
  pieces = [frames[start : start + length] for start in starts]
  return model.calibrated(model.infer(*stack_windows(pieces, length))[0].mean(0))


def export(
  model: str | Model = model_dir.DEFAULT_MODEL,
  out: str | os.PathLike = "",
  format: str = "stablehlo",
  *,
  check: list[str] | None = None,
  seconds: float = 30.0,
  windows: int = 0,
) -> Export:
  """Writes a model for use without this package, after comparing it with the model.

  Args:
    model: what --model takes, or a Model that is loaded already.
    out: the file to be.
    format: one of FORMATS.
    check: audio files on which to compare; the built-in corpus where there are none.
    seconds: of sound that a tflite or onnx takes.
    windows: of a sound, evenly spaced; 0 for as many as in evaluation.
  Raises:
    UserError: for what cannot be exported or written, and for an export that differs from the
      model by more than 0.001; then nothing is written.
  """
  if format not in FORMATS:
    raise UserError(f"--format={format}: give one of {', '.join(FORMATS)}")
  if not out:
    raise UserError("--out is missing: the file to be")
  out = pathlib.Path(out).expanduser().resolve()
  if out.exists() and not _is_export(out):
    raise UserError(f"--out={out} exists and is no export: give another file")
  model = load(model)
  if not model.frontend.window_seconds <= seconds <= MAX_SECONDS:
    raise UserError(
      f"--seconds={seconds:g}: give {model.frontend.window_seconds:.1f}, the model's"
      f" window, to {MAX_SECONDS:g}"
    )
  if not 0 <= windows <= MAX_WINDOWS:
    raise UserError(f"--windows={windows}: give 0 (as in evaluation) to {MAX_WINDOWS}")
  windows = windows or model.eval_per_track or WINDOWS
  samples = round(seconds * model.frontend.sample_rate)
  metadata = _metadata(model, format, windows, samples)
  sounds = _sounds(model.frontend, check)
  function = waveform_function(model, windows)
  with warnings.catch_warnings():
    if format == "stablehlo":
      content, run = _stablehlo(model.frontend, function)
    else:
      # Here, since these import TensorFlow and jax2onnx.
      from genre_jax.inference import onnx_graph, tflite

      converter = {"tflite": tflite, "onnx": onnx_graph}[format]
      content = converter.convert(function, samples)
      run = converter.runner(content)
      sounds = {name: _cut(audio, samples) for name, audio in sounds.items()}
  difference = 0.0
  for name, audio in sounds.items():
    prediction = np.asarray(run(audio[None]))[0]
    expected = offline(model, audio, windows)
    far = float(np.abs(prediction - expected).max())
    if not far <= LARGEST_DIFFERENCE:
      raise UserError(
        f"the export differs from the model by {far:.1e} on {name}, more than"
        f" {LARGEST_DIFFERENCE:g}: it is not written"
      )
    difference = max(difference, far)
  metadata |= {"largest_difference": difference, "checked_on": len(sounds)}
  try:
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
      new = pathlib.Path(folder) / "new"
      if format == "stablehlo":
        with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive:
          archive.writestr("model.stablehlo", content)
          archive.writestr("metadata.json", json.dumps(metadata, indent=2) + "\n")
      else:
        new.write_bytes(converter.with_metadata(content, metadata))
      os.replace(new, out)
  except OSError as error:
    raise UserError(f"--out={out}: cannot be written ({error.strerror or error})") from error
  return Export(out, difference, tuple(sounds), metadata)


def _is_export(path: pathlib.Path) -> bool:
  """Whether a file is one that may be replaced: a zip, as a TFLite is, too, or an ONNX graph."""
  if not path.is_file():
    return False
  with open(path, "rb") as file:
    # A graph begins with the version of its form, field 1 of the message.
    return zipfile.is_zipfile(path) or path.suffix == ".onnx" and file.read(1) == b"\x08"


def _metadata(model: Model, format: str, windows: int, samples: int) -> dict[str, Any]:
  """What a user of the file has to know."""
  length = "any" if format == "stablehlo" else samples
  return {
    "name": model.name,
    "made_by": f"genre_jax {genre_jax.__version__}",
    "format": format,
    "task": model.task,
    "labels": list(model.classes),
    "sample_rate": model.frontend.sample_rate,
    "input": {
      "type": "float32",
      "batch": "any" if format == "stablehlo" else 1,
      "samples": length,
      "meaning": "mono sound in [-1, 1]",
    },
    "output": {"type": "float32", "meaning": "a probability for each label"},
    "thresholds": list(model.thresholds) if model.task == "multi_label" else None,
    "windows": windows,
    "temperature": model.temperature,
    "license": model.provenance.get("license", "not stated"),
    "provenance": model.provenance,
  }


def _stablehlo(frontend: FrontendConfig, function):
  """(bytes of the module, a function that runs them)."""
  from jax import export as jax_export

  # Reflection needs more sound than it reflects; a frame that is not centerd needs a whole one.
  least = (
    frontend.n_fft // 2 + 1
    if frontend.center and frontend.pad_mode == "reflect"
    else (1 if frontend.center else frontend.n_fft)
  )
  shape = jax_export.symbolic_shape("batch, samples", constraints=(f"samples >= {least}",))
  exported = jax_export.export(jax.jit(function), platforms=PLATFORMS)(
    jax.ShapeDtypeStruct(shape, jnp.float32)
  )
  content = bytes(exported.serialize())
  return content, jax_export.deserialize(bytearray(content)).call


def _sounds(frontend: FrontendConfig, check: list[str] | None) -> dict[str, np.ndarray]:
  """What to compare on, by name."""
  if check:
    sounds = {}
    for path in check:
      try:
        sounds[path] = read_audio(path, frontend.sample_rate)
      except UnreadableAudio as error:
        raise UserError(f"--check={path}: {error}") from error
    return sounds
  from genre_jax.data.sources import synthetic  # here: for who has no recording at hand

  rate = frontend.sample_rate
  return {
    f"built-in clip {number}, {seconds} s": _cut(
      synthetic.synthesize(number, rate), round(seconds * rate)
    )
    for number, seconds in ((0, 30.0), (99, 4.3), (207, 1.0))
  }


def _cut(audio: np.ndarray, samples: int) -> np.ndarray:
  """float32[samples]: the beginning, repeated where there is not enough."""
  return np.resize(audio, samples)
