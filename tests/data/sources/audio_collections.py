"""Helpers for tests of collections with a table."""

import soundfile

from genre_jax.data.sources.registry import open_source


def write_audio(folder, names, tone):
  for i, name in enumerate(names):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / name, tone[100 * i : 8000 + 100 * i], 22050)


def open_several(name, path, genres="", **options):
  """Open a source with task=multi_label."""
  return open_source(name, str(path), genres, task="multi_label", **options)


def by_track(source):
  return {clip.track: clip for clip in source.clips}
