"""Export a model as one file that computes probabilities from a waveform without this package.

`stablehlo` is a zip archive with a module of `jax.export` for CPU, CUDA and TPU, for any batch size
and length, and metadata.json. `tflite` (a FlatBuffer) and `onnx` (a graph) have a fixed length. The
file contains front end, segments, network and temperature. It is written only if its output equals
that of the model.
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
from genre_jax.files import move_into_place
from genre_jax.inference import model_dir
from genre_jax.inference.model import Model, load
from genre_jax.inference.track_log_mel import stack_segments

FORMATS = ("stablehlo", "tflite", "onnx")
PLATFORMS = ("cpu", "cuda", "tpu")
LARGEST_DIFFERENCE = 1e-3
SEGMENTS = 8  # for models with adjacent segments: the number in a graph is fixed
MAX_SEGMENTS = 1000
MAX_SECONDS = 120.0


@dataclasses.dataclass(frozen=True)
class Export:
  """Describe an exported file.

  Attributes:
    path: The file.
    difference: Largest difference of a probability from the model.
    checked: Names of the audio on which the export was compared with the model.
    metadata: Content of metadata.json.
  """

  path: pathlib.Path
  difference: float
  checked: tuple[str, ...]
  metadata: dict[str, Any]


def waveform_function(model: Model, segments: int):
  """Return the function to export: float32[batch, samples] to float32[batch, classes].

  It computes what `predict` does: the mean of the probabilities of evenly spaced segments, then the
  temperature. The number of samples may be symbolic.

  Args:
    model: The loaded model.
    segments: Number of segments.
  """
  frontend = model.frontend
  every_frame = dataclasses.replace(frontend, frame_stride=1.0)
  stride = frame_stride_fraction(frontend)
  variables = jax.tree.map(np.asarray, model.variables)

  def probabilities(audio):
    decibels = log_mel_jax(audio, every_frame)
    index, valid, weight = segment_frames(decibels.shape[1], frontend.num_frames, stride, segments)
    pieces = jnp.take(decibels, index.reshape(-1), axis=1).reshape(
      -1, segments, frontend.num_frames, frontend.n_mels
    )
    mask = valid[None, :, :, None]
    # Pad a clip that is shorter than a segment with its minimum, as `stack_segments` does.
    minimum = jnp.min(jnp.where(mask, pieces, jnp.inf), axis=(2, 3), keepdims=True)
    pieces = jnp.where(mask, pieces, minimum)
    masks = jnp.broadcast_to(valid[None], pieces.shape[:3])
    logits = model.network.apply(
      variables,
      pieces.reshape(-1, frontend.num_frames, frontend.n_mels, 1),
      masks.reshape(-1, frontend.num_frames),
    )
    single_label = model.task == "single_label"
    result = jax.nn.softmax(logits) if single_label else jax.nn.sigmoid(logits)
    result = result.reshape(-1, segments, len(model.classes))
    result = (result * weight[None, :, None]).sum(1) / weight.sum()
    if model.temperature == 1.0:
      return result
    power = 1.0 / model.temperature
    odds = jnp.maximum(result, 1e-30) ** power
    if single_label:
      return odds / odds.sum(-1, keepdims=True)
    return odds / (odds + jnp.maximum(1 - result, 1e-30) ** power)

  return probabilities


def frame_stride_fraction(frontend: FrontendConfig) -> fractions.Fraction:
  """Return frame_stride as a fraction, so that rounding selects the same frames.

  Raises:
    UserError: If no fraction with a small denominator selects the same frames.
  """
  stride = fractions.Fraction(frontend.frame_stride).limit_denominator(1000)
  number = np.arange(100_000)
  indices = (2 * number + 1) * stride.numerator // (2 * stride.denominator)
  if (indices != np.floor((number + 0.5) * frontend.frame_stride)).any():
    raise UserError(
      f"config.frontend.frame_stride={frontend.frame_stride} of this model is not a fraction with"
      " a denominator up to 1000; to export, train with another --config.frontend.frame_stride"
    )
  return stride


def segment_frames(stft_frames, length: int, stride: fractions.Fraction, segments: int):
  """Return the STFT frames of the evenly spaced segments of a clip.

  Equal to `segment_starts` on the frames that `FrontendConfig.frame_indices` keeps.

  Args:
    stft_frames: STFT frames of the clip, an int or a symbolic size.
    length: Frames of a segment.
    stride: STFT frames per kept frame.
    segments: Number of segments.

  Returns:
    index: int32[segments, length], STFT frames.
    valid: bool[segments, length], False for padding.
    weight: float32[segments], 0 for a segment that repeats the one before it, else 1.
  """
  # If the size is an int, the result is a constant of the graph.
  xp = np if isinstance(stft_frames, int) else jnp
  count = xp.asarray(stft_frames, xp.int32)
  p, q = stride.numerator, stride.denominator
  kept = xp.maximum((2 * q * count + p - 1) // (2 * p), 1)
  last_start = xp.maximum(kept - length, 0)
  order = np.arange(segments, dtype=np.int32)
  starts = order * last_start // (segments - 1) if segments > 1 else last_start[None] // 2
  weight = xp.concatenate([xp.ones(1, bool), starts[1:] != starts[:-1]])
  number = starts[:, None] + np.arange(length, dtype=np.int32)[None]
  index = xp.minimum((2 * number + 1) * p // (2 * q), count - 1)
  return index.astype(xp.int32), number < kept, weight.astype(xp.float32)


def model_probabilities(model: Model, audio: np.ndarray, segments: int) -> np.ndarray:
  """Compute the probabilities that `predict` gives, to compare an export with.

  Args:
    model: The loaded model.
    audio: float32[samples] at the model's sample rate.
    segments: Number of segments.

  Returns:
    float64[classes].
  """
  frames = log_mel(audio, model.frontend)
  length = model.frontend.num_frames
  starts = segment_starts(len(frames), length, segments)
  pieces = [frames[start : start + length] for start in starts]
  return model.calibrated(model.infer(*stack_segments(pieces, length))[0].mean(0))


def export(
  model: str | Model = model_dir.DEFAULT_MODEL,
  out: str | os.PathLike = "",
  format: str = "stablehlo",
  *,
  check: list[str] | None = None,
  seconds: float = 30.0,
  segments: int = 0,
) -> Export:
  """Export a model, compare the export with the model, and write it.

  Args:
    model: A value of --model, or a loaded Model.
    out: The file to write.
    format: One of FORMATS.
    check: Audio files on which to compare; None for clips of the built-in synthetic corpus.
    seconds: Length of the input of a tflite or onnx file.
    segments: Segments of the input, evenly spaced; 0 for the number used in evaluation.

  Raises:
    UserError: If the model cannot be exported or the file cannot be written, or if a probability
      differs from the model by more than 0.001. Then nothing is written.
  """
  if format not in FORMATS:
    raise UserError(f"--format={format}: give one of {', '.join(FORMATS)}")
  if not out:
    raise UserError("--out is missing: give the file to write")
  out = pathlib.Path(os.path.realpath(pathlib.Path(out).expanduser()))
  try:
    is_other = out.exists() and not _is_export(out)
  except OSError as error:
    raise UserError(f"--out={out}: cannot be written ({error.strerror or error})") from error
  if is_other:
    raise UserError(f"--out={out} exists and is not an export: give another file")
  model = load(model)
  if not model.frontend.segment_seconds <= seconds <= MAX_SECONDS:
    raise UserError(
      f"--seconds={seconds:g}: give {model.frontend.segment_seconds:.1f}, the length of the model's"
      f" segment, to {MAX_SECONDS:g}"
    )
  if not 0 <= segments <= MAX_SEGMENTS:
    raise UserError(f"--segments={segments}: give 0 (as in evaluation) to {MAX_SEGMENTS}")
  segments = segments or model.eval_per_track or SEGMENTS
  samples = round(seconds * model.frontend.sample_rate)
  metadata = _metadata(model, format, segments, samples)
  clips = _check_clips(model.frontend, check)
  function = waveform_function(model, segments)
  with warnings.catch_warnings():
    if format == "stablehlo":
      content, run = _stablehlo(model.frontend, function)
    else:
      # Imported here because these import TensorFlow and jax2onnx.
      from genre_jax.inference import onnx_graph, tflite

      converter = {"tflite": tflite, "onnx": onnx_graph}[format]
      content = converter.convert(function, samples)
      run = converter.runner(content)
      clips = {name: _with_length(audio, samples) for name, audio in clips.items()}
  largest = 0.0
  for name, audio in clips.items():
    exported = np.asarray(run(audio[None]))[0]
    difference = float(np.abs(exported - model_probabilities(model, audio, segments)).max())
    if not difference <= LARGEST_DIFFERENCE:
      raise UserError(
        f"the export differs from the model by {difference:.1e} on {name}, more than"
        f" {LARGEST_DIFFERENCE:g}: it is not written"
      )
    largest = max(largest, difference)
  metadata |= {"largest_difference": largest, "checked_on": len(clips)}
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
      move_into_place(new, out)
  except OSError as error:
    raise UserError(f"--out={out}: cannot be written ({error.strerror or error})") from error
  return Export(out, largest, tuple(clips), metadata)


def _is_export(path: pathlib.Path) -> bool:
  """Return whether a file may be replaced: a zip archive (also in TFLite) or an ONNX graph."""
  if not path.is_file():
    return False
  with open(path, "rb") as file:
    # An ONNX graph begins with its format version, field 1 of the protocol buffer.
    return zipfile.is_zipfile(path) or path.suffix == ".onnx" and file.read(1) == b"\x08"


def _metadata(model: Model, format: str, segments: int, samples: int) -> dict[str, Any]:
  """Return the content of metadata.json: input, output, labels, license and provenance."""
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
      "meaning": "mono audio in [-1, 1]",
    },
    "output": {"type": "float32", "meaning": "a probability for each label"},
    "thresholds": list(model.thresholds) if model.task == "multi_label" else None,
    "least": list(model.least) or None,
    "segments": segments,
    "temperature": model.temperature,
    "license": model.provenance.get("license", "not stated"),
    "provenance": model.provenance,
  }


def _stablehlo(frontend: FrontendConfig, function):
  """Return the bytes of the module, and a function that runs them."""
  from jax import export as jax_export

  # Reflection needs more audio than it reflects. A frame that is not centered needs n_fft samples.
  min_samples = (
    frontend.n_fft // 2 + 1
    if frontend.center and frontend.pad_mode == "reflect"
    else (1 if frontend.center else frontend.n_fft)
  )
  shape = jax_export.symbolic_shape("batch, samples", constraints=(f"samples >= {min_samples}",))
  exported = jax_export.export(jax.jit(function), platforms=PLATFORMS)(
    jax.ShapeDtypeStruct(shape, jnp.float32)
  )
  content = bytes(exported.serialize())
  return content, jax_export.deserialize(bytearray(content)).call


def _check_clips(frontend: FrontendConfig, check: list[str] | None) -> dict[str, np.ndarray]:
  """Return {name: float32[samples]}, the audio on which to compare."""
  if check:
    clips = {}
    for path in check:
      try:
        clips[path] = read_audio(path, frontend.sample_rate)
      except UnreadableAudio as error:
        raise UserError(f"--check={path}: {error}") from error
    return clips
  from genre_jax.data.sources import synthetic  # imported here: only needed without files

  rate = frontend.sample_rate
  return {
    f"built-in clip {number}, {seconds} s": _with_length(
      synthetic.synthesize(number, rate), round(seconds * rate)
    )
    for number, seconds in ((0, 30.0), (99, 4.3), (207, 1.0))
  }


def _with_length(audio: np.ndarray, samples: int) -> np.ndarray:
  """Return the first `samples` of float32[...], repeated if it is shorter."""
  return np.resize(audio, samples)
