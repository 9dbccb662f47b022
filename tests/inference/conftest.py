"""Small models with random weights, a synthetic wheel of musicnn, and synthetic audio."""

import os

import numpy as np
import pytest
import soundfile

from genre_jax.data.frontend import FrontendConfig
from genre_jax.inference import model_dir
from genre_jax.inference.model import variable_shapes
from genre_jax.inference.published import MUSICNN
from genre_jax.models.registry import build_model
from tests.inference.musicnn_wheel import (
  checkpoint_files,
  publish,
  random_variables,
  write_wheel,
)

SMALL = FrontendConfig(
  n_fft=512,
  win_length=512,
  hop_length=256,
  sample_rate=8000,
  n_mels=32,
  fmax=4000.0,
  frame_stride=2.5,
  num_frames=40,
)
CLASSES = ("calm", "loud", "odd")


def write_small_model(
  folder, name="small", frontend=SMALL, network="axis_features", classes=CLASSES, **metadata
):
  """Write a model directory with random weights and statistics, and return its folder."""
  module = build_model({"name": network}, len(classes))
  rng = np.random.default_rng(0)

  def random_values(name, shape):
    if name.endswith("kernel"):
      return rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
    # Neither zeros nor ones: a missing normalization must change the output.
    return (
      rng.uniform(0.8, 1.2, shape) if name.endswith(("var", "scale")) else rng.normal(0, 0.2, shape)
    )

  weights = {
    name: random_values(name, shape).astype(np.float32)
    for name, shape in variable_shapes(module, frontend).items()
  }
  folder.mkdir(parents=True, exist_ok=True)
  model_dir.write_model(
    folder / name,
    {
      "name": name,
      "model": {"name": network, **model_dir.sizes_of(module)},
      "frontend": frontend.to_dict(),
      "classes": list(classes),
      "task": "single_label",
      "normalization": module.normalization,
      "eval_per_track": 3,
      "temperature": 1.0,
      "provenance": {"source": "random numbers", "license": "CC0"},
      **metadata,
    },
    weights,
  )
  return folder / name


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
  """Return the folder of a small axis_features model."""
  return write_small_model(tmp_path_factory.mktemp("models"))


def sound(seconds, rate=8000, seed=0):
  """Return a tone with noise whose level and pitch change, float32[samples]."""
  rng = np.random.default_rng(seed)
  noise = rng.standard_normal(int(seconds * rate)).astype(np.float32)
  time = np.arange(len(noise)) / rate
  tone = np.sin(2 * np.pi * (200 + 40 * seed) * time * (1 + 0.1 * np.sin(time)))
  return (0.1 * noise * (1 + np.sin(time)) / 2 + 0.2 * tone).astype(np.float32)


@pytest.fixture
def songs(tmp_path):
  """Return a folder of four audio files with different rates, channels and formats."""
  folder = tmp_path / "songs"
  (folder / "deep" / "er").mkdir(parents=True)
  soundfile.write(folder / "a.wav", sound(4, seed=1), 8000)
  soundfile.write(folder / "b.flac", sound(6, 44100, 2), 44100)
  stereo = np.stack([sound(5, 192000, 3), sound(5, 192000, 4)], 1)
  soundfile.write(folder / "deep" / "c.wav", stereo, 192000)
  soundfile.write(folder / "deep" / "er" / "d.mp3", sound(5, 22050, 5), 22050)
  (folder / "notes.txt").write_text("not audio")
  return folder


@pytest.fixture(scope="session")
def made_variables():
  """Return the variables in the synthetic wheel."""
  return random_variables()


@pytest.fixture(scope="session")
def made_wheel(tmp_path_factory, made_variables):
  """Return a synthetic wheel with the published layout and three tags."""
  folder = tmp_path_factory.mktemp("wheel")
  wheel = folder / "index" / MUSICNN.file
  wheel.parent.mkdir()
  write_wheel(wheel, checkpoint_files(folder, made_variables))
  return wheel


@pytest.fixture
def published(made_wheel, monkeypatch):
  """Return the synthetic wheel, with its hash in place of the published one."""
  publish(made_wheel, monkeypatch)
  return made_wheel


@pytest.fixture
def no_index(monkeypatch):
  """Keep pip from using any package index."""
  monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
  monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
  monkeypatch.setenv("PIP_NO_INDEX", "1")
