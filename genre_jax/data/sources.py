"""Opens the source that a config names: the door of the data room.

`open_source` chooses by config.dataset.source, or by the path where that is 'auto'. A new source is
one file that returns a `Source`, and one entry here.
"""

import difflib
import os

from genre_jax.data import audio_folder, gtzan, gtzan_tfds, mel_archive, synthetic
from genre_jax.data.clips import Clip, Reader, Source
from genre_jax.data.recipe import Recipe
from genre_jax.errors import UserError

__all__ = ["Clip", "Reader", "SOURCES", "Source", "open_source", "source_of_path"]

SOURCES = ("auto", "gtzan", "audio_folder", "mel_archive", "synthetic")


def open_source(
  source: str = "auto",
  path: str = "",
  genres: str = "",
  *,
  groups: str = "",
  clip_seconds: float = 30.0,
  recipe: Recipe | None = None,
  seed: int = 0,
  cache_dir: str = "",
) -> Source:
  """What clips there are.

  Args:
    source: one of SOURCES.
    path: file or folder; '' for the built-in corpus; 'download' for GTZAN from the network.
    genres: '' (for GTZAN material classical, disco, metal, rock; else every genre), 'all', or a
      comma list.
    groups: CSV with the columns file and group; '' for what the source knows itself.
    clip_seconds: length of the clips of a mel_archive.
    recipe: if given, a mel_archive is checked against it.
    seed: of the built-in corpus.
    cache_dir: where GTZAN is downloaded and unpacked; '' for the user's cache.
  Raises:
    UserError: naming the flag, what is wrong, and what to do.
  """
  if source not in SOURCES:
    near = difflib.get_close_matches(source, SOURCES, 1, 0.0)[0]
    raise UserError(
      f"--config.dataset.source={source}: give one of {', '.join(SOURCES)} (did you mean {near}?)."
    )
  path = os.path.expanduser(path)
  if source == "auto":
    source = source_of_path(path)
  if source == "synthetic":
    if path:
      raise UserError(
        f"--config.dataset.source=synthetic takes no --config.dataset.path; it is {path}."
      )
    if groups:
      raise UserError("--config.dataset.groups: the built-in corpus has groups of its own.")
    return synthetic.open_synthetic(genres, seed)
  if not path:
    raise UserError(f"--config.dataset.source={source} needs --config.dataset.path=FILE or FOLDER.")
  if source == "gtzan":
    return gtzan.open_gtzan(path, genres, groups, cache_dir)
  if not os.path.exists(path):
    raise UserError(f"--config.dataset.path={path}: there is no such file or folder.")
  if source == "audio_folder":
    return audio_folder.open_audio_folder(path, genres, groups)
  return mel_archive.open_mel_archive(path, genres, groups, clip_seconds, recipe)


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
  if gtzan_tfds.find_version(path) or gtzan.find_files(path)[0]:
    return "gtzan"
  return "audio_folder"
