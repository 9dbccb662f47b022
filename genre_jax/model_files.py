"""Find and read model directories; `inference/model_dir.py` describes and writes them.

This module is beside the packages because training starts from model directories too.
"""

import hashlib
import json
import os
import pathlib
from typing import Any

import numpy as np

import genre_jax
from genre_jax.errors import UserError
from genre_jax.files import cache_dir
from genre_jax.old_names import modernize

FORMAT_VERSION = 1
PACKAGED = pathlib.Path(genre_jax.__file__).parent / "pretrained_models"


def named_folders(name: str) -> list[pathlib.Path]:
  """Return where a packaged or a fetched model of this name would be; [] if it is a path."""
  if name in ("", ".", "..") or pathlib.PurePath(name).name != name:
    return []
  return [PACKAGED / name, cache_dir() / "models" / name]


def read_model(folder: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
  """Read a model directory.

  Returns:
    The content of model.json, and the variables as nested dicts, as a network's `apply` takes them.

  Raises:
    UserError: If the directory is absent, incomplete, damaged, or has another format version.
  """
  folder = pathlib.Path(folder)
  try:
    metadata = modernize(json.loads((folder / "model.json").read_text()))
    if missing := {"format_version", "weights_sha256"} - set(metadata):
      raise UserError(f"{folder}: model.json has no {min(missing)}; fetch or pack the model again")
    version = metadata["format_version"]
    if version != FORMAT_VERSION:
      raise UserError(f"{folder}: model format {version}, this program reads {FORMAT_VERSION}")
    raw = (folder / "weights.npz").read_bytes()
    if hashlib.sha256(raw).hexdigest() != metadata["weights_sha256"]:
      raise UserError(f"{folder}: weights.npz is damaged or was changed")
    variables: dict[str, Any] = {}
    with np.load(folder / "weights.npz", allow_pickle=False) as archive:
      for name in archive.files:
        *parents, leaf = name.split("/")
        node = variables
        for parent in parents:
          node = node.setdefault(parent, {})
        node[leaf] = archive[name]
  except FileNotFoundError as error:
    raise UserError(
      f"{folder}: not a model directory ({pathlib.Path(error.filename).name} is missing)"
    ) from error
  except json.JSONDecodeError as error:
    raise UserError(
      f"{folder}: model.json is damaged ({error}); fetch or pack the model again"
    ) from error
  except UserError:
    raise
  except Exception as error:  # zlib, zipfile and the parser of NumPy's headers raise many kinds
    reason = getattr(error, "strerror", None) or error
    raise UserError(f"{folder}: cannot be read as a model ({reason})") from error
  return metadata, variables
