"""A synthetic wheel with musicnn's layout, to be put in place of the published one."""

import hashlib
import pathlib
import zipfile

import numpy as np

from genre_jax.inference.published import PUBLISHED

TAGS = ["loud", "quiet", "Hip-Hop"]
CONFIGURATION = f"SR = 16000\nMTT_LABELS = ['only one']\nMSD_LABELS = {TAGS!r}\n"


def checkpoint_files(folder: pathlib.Path, variables: dict[str, np.ndarray]) -> dict[str, bytes]:
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


def random_variables() -> dict[str, np.ndarray]:
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


def write_wheel(path: pathlib.Path, parts: dict[str, bytes]) -> None:
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


def publish(wheel, monkeypatch):
  content = wheel.read_bytes()
  replace_wheel(monkeypatch, sha256=hashlib.sha256(content).hexdigest(), num_bytes=len(content))


def replace_wheel(monkeypatch, **fields):
  published = PUBLISHED["musicnn_msd"]
  changed = published._replace(wheel=published.wheel._replace(**fields))
  monkeypatch.setitem(PUBLISHED, "musicnn_msd", changed)
