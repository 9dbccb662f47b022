"""Open the source that a config names.

`open_source` chooses by config.dataset.source, or by the path if that is 'auto'. A source is a
module or package NAME of `genre_jax.data.sources` with a function `open_NAME(request)` that returns
a `Source`. It is found by its name; no list names it.
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
  """Return the values that config.dataset.source may have."""
  names = [module.name for module in pkgutil.iter_modules(sources.__path__)]
  return ["auto", *(name for name in names if _opener(name))]


def _opener(name: str):
  """Return the function `open_NAME` of the source NAME, None if it does not exist."""
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
  """Open a source.

  Args:
    source: 'auto' or one of `source_names()`.
    path: File or folder; '' for the built-in corpus; 'download' for GTZAN from the network.
    genres: '' (classical, disco, metal and rock for GTZAN, else all genres), 'all', or a
      comma-separated list.
    groups: See `source.Request`, also for the following arguments.
    subset: Part of the dataset.
    clip_seconds: Length of the clips of a mel_archive.
    frontend: Front end that a mel_archive is checked against.
    seed: Seed of generated clips.
    cache_dir: Folder for the download of GTZAN.
    task: 'single_label' or 'multi_label'.

  Raises:
    UserError: If the source is unknown, or the dataset cannot be used.
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
  """Return the source that 'auto' selects for a path."""
  if not path:
    return "synthetic"
  if path == "download":
    return "gtzan"
  if not os.path.exists(path):
    raise UserError(f"--config.dataset.path={path}: there is no such file or folder.")
  if os.path.isfile(path):
    if path.lower().endswith(".npz"):
      return "mel_archive"
    if path.lower().endswith((".tar.gz", ".tgz")):
      return "gtzan"
    raise UserError(
      f"--config.dataset.path={path}: give a folder of audio, an .npz of "
      "spectrograms, or the original genres.tar.gz."
    )
  if tfds_audio.find_version(path, "gtzan") or folder.find_files(path)[0]:
    return "gtzan"
  return "audio_folder"
