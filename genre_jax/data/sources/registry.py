"""Opens the source that a config names: the door of the data room.

`open_source` chooses by config.dataset.source, or by the path where that is 'auto'. A source is one
file `genre_jax/data/NAME.py` with a function `open_NAME(request)` that returns a `Source`; there is
no list to enter it in.
"""

import importlib.util
import os
import pkgutil

from genre_jax.data import sources
from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.source import Clip, Reader, Request, Source
from genre_jax.data.sources import tfds_audio
from genre_jax.data.sources.gtzan import folder
from genre_jax.errors import UserError, did_you_mean

__all__ = ["Clip", "Reader", "Request", "Source", "open_source", "source_names", "source_of_path"]

WITHOUT_PATH = ("synthetic",)


def source_names() -> list[str]:
  """Names that config.dataset.source may have."""
  names = [module.name for module in pkgutil.iter_modules(sources.__path__)]
  return ["auto", *(name for name in names if _opener(name))]


def _opener(name: str):
  """The function `open_NAME` of the module NAME of this folder, None where there is none."""
  if importlib.util.find_spec(f"{sources.__name__}.{name}") is None:
    return None
  return getattr(importlib.import_module(f"{sources.__name__}.{name}"), f"open_{name}", None)


def open_source(
  source: str = "auto",
  path: str = "",
  genres: str = "",
  *,
  groups: str = "",
  subset: str = "",
  clip_seconds: float = 30.0,
  frontend: FrontendConfig | None = None,
  seed: int = 0,
  cache_dir: str = "",
  task: str = "single_label",
) -> Source:
  """What clips there are.

  Args:
    source: 'auto', or the name of a file of this folder.
    path: file or folder; '' for the built-in corpus; 'download' for GTZAN from the network.
    genres: '' (for GTZAN material classical, disco, metal, rock; else every genre), 'all', or a
      comma list.
    groups, subset, clip_seconds, recipe, seed, cache_dir, task: see `clips.Request`.
  Raises:
    UserError: naming the flag, what is wrong, and what to do.
  """
  path = os.path.expanduser(path)
  if source == "auto":
    source = source_of_path(path)
  opener = _opener(source) if source.isidentifier() else None
  if opener is None:
    names = source_names()
    hint = did_you_mean(source, names, cutoff=0.0)
    raise UserError(f"--config.dataset.source={source}: give one of {', '.join(names)}{hint}.")
  if source not in WITHOUT_PATH:
    if not path:
      raise UserError(
        f"--config.dataset.source={source} needs --config.dataset.path=FILE or FOLDER."
      )
    if not os.path.exists(path) and (source, path) != ("gtzan", "download"):
      raise UserError(f"--config.dataset.path={path}: there is no such file or folder.")
  return opener(
    Request(path, genres, groups, subset, clip_seconds, frontend, seed, cache_dir, task)
  )


def source_of_path(path: str) -> str:
  """What 'auto' means for a path."""
  if not path:
    return "synthetic"
  if path == "download":
    return "gtzan"
  if not os.path.exists(path):
    raise UserError(f"--config.dataset.path={path}: there is no such file or folder.")
  if os.path.isfile(path):
    if path.endswith(".npz"):
      return "mel_archive"
    if path.endswith((".tar.gz", ".tgz")):
      return "gtzan"
    raise UserError(
      f"--config.dataset.path={path}: give a folder of audio, an .npz of "
      "spectrograms, or the original genres.tar.gz."
    )
  if tfds_audio.find_version(path, "gtzan") or folder.find_files(path)[0]:
    return "gtzan"
  return "audio_folder"
