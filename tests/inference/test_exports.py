"""Test that exports compute the model's probabilities from a waveform, without this package."""

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest
import soundfile

from genre_jax.data.audio import read_audio
from genre_jax.errors import UserError
from genre_jax.inference import export, exports, load, predict
from tests.conftest import ROOT
from tests.inference.conftest import SMALL, sound, write_small_model

pytestmark = pytest.mark.slow

FRONTENDS = {
  "default": SMALL,
  "other": dataclasses.replace(
    SMALL, db_ref="full_scale", top_db=0.0, frame_stride=1.0, pad_mode="reflect", hop_length=200
  ),
}


def _run(path):
  """Return the function of an exported file."""
  with zipfile.ZipFile(path) as files:
    module = jax.export.deserialize(bytearray(files.read("model.stablehlo")))
  assert set(module.platforms) == {"cpu", "cuda", "tpu"}
  return module.call


@pytest.mark.parametrize("name", FRONTENDS)
def test_any_length_and_batch(tmp_path, name):
  lengths = (513, 31_234, 200_000) if name == "default" else (31_234,)
  model = load(str(write_small_model(tmp_path, frontend=FRONTENDS[name], temperature=1.7)))
  exported = export(model, tmp_path / "m.zip")
  assert exported.difference < 1e-5 and len(exported.checked) == 3
  run = _run(tmp_path / "m.zip")
  for samples in lengths:
    batch = np.stack([sound(samples / 8000, seed=seed)[:samples] for seed in range(2)])
    predictions = np.asarray(run(batch))
    assert predictions.shape == (2, 3)
    for audio, prediction in zip(batch, predictions, strict=True):
      np.testing.assert_allclose(
        prediction, exports.model_probabilities(model, audio, 3), atol=1e-5
      )


@pytest.fixture(scope="module")
def sound_and_export(tmp_path_factory, small_model):
  """Return a folder with x.wav, its prediction, and m.zip, which was checked with x.wav."""
  folder = tmp_path_factory.mktemp("export")
  soundfile.write(folder / "x.wav", sound(9), 8000, subtype="FLOAT")
  prediction = next(predict(folder / "x.wav", str(small_model)))
  export(str(small_model), folder / "m.zip", check=[str(folder / "x.wav")])
  return folder, prediction


def test_export_equals_predict(sound_and_export):
  folder, prediction = sound_and_export
  exported = np.asarray(_run(folder / "m.zip")(read_audio(folder / "x.wav", 8000)[None]))[0]
  np.testing.assert_allclose(exported, list(prediction.probabilities.values()), atol=1e-5)


def test_segments_are_those_of_evaluation():
  """Compare frames and weights of segments for many numbers of STFT frames."""
  from genre_jax.data.pipeline import segment_starts

  stride = exports.frame_stride_fraction(SMALL)
  for segments in (1, 2, 3, 5):
    for count in (1, 2, 99, 100, 101, 102, 103, 107, 350, 1291):
      kept = SMALL.frame_indices(count)
      starts = segment_starts(len(kept), 40, segments)
      for given in (count, jax.numpy.int32(count)):
        index, valid, weight = map(np.asarray, exports.segment_frames(given, 40, stride, segments))
        result = [list(index[k][valid[k]]) for k in range(segments) if weight[k]]
        assert result == [list(kept[start : start + 40]) for start in starts]


def test_tags(tmp_path):
  from genre_jax.inference.musicnn_weights import FRONTEND

  folder = write_small_model(
    tmp_path,
    "tags",
    FRONTEND,
    "musicnn",
    ("a", "b"),
    task="multi_label",
    thresholds=[0.3, 0.6],
    temperature=2.0,
  )
  exported = export(str(folder), tmp_path / "m.zip")
  assert exported.difference < 1e-4 and exported.metadata["thresholds"] == [0.3, 0.6]


def test_an_export_that_differs_is_refused(tmp_path, small_model, monkeypatch):
  monkeypatch.setattr(exports, "LARGEST_DIFFERENCE", 1e-12)
  with pytest.raises(UserError, match="differs from the model"):
    export(str(small_model), tmp_path / "m.zip")
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    ({"out": ""}, "--out"),
    ({"format": "coreml"}, "--format=coreml"),
    ({"seconds": 0.1}, "--seconds"),
    ({"check": ["absent.wav"]}, "--check=absent.wav"),
    ({"model": "absent"}, "--model=absent"),
    ({"out": "/proc/no/m.zip"}, "--out=/proc/no/m.zip"),
  ],
)
def test_mistakes(tmp_path, small_model, arguments, words):
  with pytest.raises(UserError, match=words):
    export(**{"model": str(small_model), "out": tmp_path / "m.zip", **arguments})


def program(marker):
  """Return the program of docs/how-to/export.md that contains `marker`."""
  page = (ROOT / "docs" / "how-to" / "export.md").read_text()
  for block in re.findall(r"```python\n(.*?)```", page, re.S):
    if marker in block:
      return block
  raise AssertionError(f"no program with {marker} in docs/how-to/export.md")


def _lines(folder, marker, *arguments, python=sys.executable):
  """Run a documented program without this package and return {label: probability}."""
  (folder / "program.py").write_text(program(marker))
  environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
  done = subprocess.run(
    [
      python,
      "-I",
      "-c",
      "import runpy, sys; sys.argv = sys.argv[1:];"
      " runpy.run_path(sys.argv[0]); assert 'genre_jax' not in sys.modules",
      str(folder / "program.py"),
      *map(str, arguments),
    ],
    cwd=folder,
    env=environment,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return {line.split()[0]: float(line.split()[1]) for line in done.stdout.splitlines()}


def test_the_documented_program_runs_a_stablehlo(sound_and_export):
  folder, prediction = sound_and_export
  lines = _lines(folder, "jax.export.deserialize", folder / "m.zip", folder / "x.wav")
  # predict filters the offset of a file.
  assert lines == pytest.approx(prediction.probabilities, abs=1e-3)
  metadata = json.loads(zipfile.ZipFile(folder / "m.zip").read("metadata.json"))
  assert metadata["labels"] == ["calm", "loud", "odd"] and metadata["sample_rate"] == 8000
  assert metadata["license"] == "CC0" and metadata["largest_difference"] < 1e-5


def test_a_tflite_and_its_documented_program(tmp_path, small_model):
  pytest.importorskip("ai_edge_litert", reason="needs the package ai-edge-litert")
  soundfile.write(tmp_path / "x.wav", sound(10), 8000, subtype="FLOAT")
  done = subprocess.run(
    [
      sys.executable,
      "-m",
      "genre_jax.export",
      f"--model={small_model}",
      "--format=tflite",
      f"--out={tmp_path / 'm.tflite'}",
      "--seconds=10",
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert "largest difference" in done.stdout and (tmp_path / "m.tflite").stat().st_size < 3e6
  prediction = next(predict(tmp_path / "x.wav", str(small_model)))
  lines = _lines(tmp_path, "get_signature_runner", tmp_path / "m.tflite", tmp_path / "x.wav")
  assert lines == pytest.approx(prediction.probabilities, abs=1e-3)
  assert list(pathlib.Path(tmp_path).glob(".m*")) == []


ONNX_PYTHON = ROOT / ".venv-onnx" / "bin" / "python"
needs_onnx = pytest.mark.skipif(
  not ONNX_PYTHON.exists(),
  reason="needs the environment of requirements-onnx.txt in .venv-onnx",
)


def _export_onnx(model, folder):
  """Export a model directory to m.onnx by the command, which compares the two."""
  command = [
    ONNX_PYTHON,
    "-m",
    "genre_jax.export",
    f"--model={model}",
    "--format=onnx",
    f"--out={folder / 'm.onnx'}",
    "--seconds=10",
  ]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert "largest difference" in done.stdout and done.stderr == ""


@needs_onnx
@pytest.mark.parametrize("network", ["split_cnn", "square_cnn", "axis_features_2d"])
def test_networks_of_axis_kernels_become_onnx(tmp_path, network):
  _export_onnx(write_small_model(tmp_path, network=network), tmp_path)


@needs_onnx
def test_an_onnx_and_its_documented_program(tmp_path, small_model):
  soundfile.write(tmp_path / "x.wav", sound(10), 8000, subtype="FLOAT")
  for _ in range(2):  # an export may be replaced
    _export_onnx(small_model, tmp_path)
  prediction = next(predict(tmp_path / "x.wav", str(small_model)))
  lines = _lines(
    tmp_path, "onnxruntime", tmp_path / "m.onnx", tmp_path / "x.wav", python=ONNX_PYTHON
  )
  # predict filters the offset of a file.
  assert lines == pytest.approx(prediction.probabilities, abs=1e-3)


def test_onnx_without_its_converter(tmp_path, small_model):
  with pytest.raises(UserError, match=r"jax2onnx: pip install 'genre-jax\[onnx\]'"):
    export(str(small_model), tmp_path / "m.onnx", "onnx")


def test_a_file_that_is_not_an_export_is_not_replaced(tmp_path, small_model):
  song = tmp_path / "song.wav"
  soundfile.write(song, sound(5), 8000)
  before = song.read_bytes()
  with pytest.raises(UserError, match="is not an export"):
    export(str(small_model), song, check=[str(song)])
  assert song.read_bytes() == before
