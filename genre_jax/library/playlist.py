"""Make playlists that players open: M3U8 with paths relative to the playlist."""

import codecs
import dataclasses
import json
import os
import pathlib
import sqlite3
from collections.abc import Sequence
from typing import Any

import numpy as np

from genre_jax.data.names import name_key, printable_path
from genre_jax.errors import UserError, did_you_mean
from genre_jax.inference.playlists import NAME, entry, name_in
from genre_jax.library.browse import CORRECTED
from genre_jax.library.database import AWAY
from genre_jax.library.embeddings import Embeddings
from genre_jax.library.label_names import tag_of
from genre_jax.library.output import new_text, output_file
from genre_jax.library.similar import Choice, Limits, Song, fill, read_song, seed_vectors, similar
from genre_jax.library.tag_keys import all_parts, parts_of

MAGIC = b"#EXTM3U"


def from_seeds(
  db: sqlite3.Connection, embeddings: Embeddings, seeds: Sequence[int], limits: Limits
) -> list[Song]:
  """Return some songs and those that are nearest to them, `limits.count` together."""
  seeds = list(dict.fromkeys(seeds))[: limits.count]
  rest = dataclasses.replace(limits, count=max(0, limits.count - len(seeds)))
  found = similar(db, embeddings, seeds, rest)
  return [read_song(db, seed) for seed in seeds] + found


def path_between(
  db: sqlite3.Connection, embeddings: Embeddings, first: int, last: int, limits: Limits
) -> list[Song]:
  """Return `limits.count` songs from one song to another, each near to those beside it."""
  ends = seed_vectors(db, embeddings, [first, last])
  songs = [read_song(db, first), read_song(db, last)]
  choice = Choice(limits, songs)
  steps = max(0, limits.count - 2)
  for step in range(1, steps + 1):
    share = step / (steps + 1)
    vector = (1 - share) * ends[0] + share * ends[1]
    vector /= max(float(np.linalg.norm(vector)), 1e-6)
    fill(db, embeddings, vector, choice, len(choice.songs) + 1, ends)
  return [songs[0], *choice.songs, songs[1]]


def of_genre(
  db: sqlite3.Connection,
  model: dict[str, Any],
  genre: str,
  names: dict[str, str],
  limits: Limits,
) -> list[Song]:
  """Return songs of a genre: those to which a human gave it, then the most probable ones.

  A human's word is the genre given in `library serve`, else the genres in the tags.

  Args:
    db: The library.
    model: The model, as of `database.find_model`.
    genre: A label of the model, the tag that is written for it, or a genre in the files' tags.
    names: {key of a label: tag}.
    limits: What is chosen.

  Raises:
    UserError: If no song has this genre.
  """
  key = name_key(genre)
  labels = [c for c in model["classes"] if key in (name_key(c), name_key(tag_of(c, names)))]
  choice = Choice(limits)
  found = False
  for file, text, corrected in db.execute(
    "SELECT id, tags, genre FROM file LEFT JOIN correction USING (sound)"
    " WHERE missing_since IS NULL AND (genre NOT NULL OR tags NOT LIKE '%\"genres\": {}%')"
  ):
    if len(choice.songs) < limits.count and key in _genres(text, corrected):
      found = True
      choice.add(read_song(db, file))
  for file, label in db.execute(
    "SELECT file, label FROM analysis WHERE model = ?"
    f" AND file NOT IN ({AWAY}) AND file NOT IN ({CORRECTED})"
    " ORDER BY confidence DESC",
    (model["id"],),
  ):
    if len(choice.songs) >= limits.count:
      break
    if set(label.split(";")) & set(labels):
      found = True
      choice.add(read_song(db, file))
  if not found:
    raise UserError(
      f"--genre={genre}: no song of the library has this genre"
      f"{did_you_mean(genre, model['classes'])}"
    )
  return choice.songs


def _genres(text: str, corrected: str | None) -> set[str]:
  """Return the keys of the genres in stored tags, or of a human's correction."""
  if corrected:
    return set(map(name_key, parts_of(corrected)))
  return set(map(name_key, all_parts(json.loads(text).get("genres", {}))))


def write_playlist(path: pathlib.Path, songs: Sequence[Song]) -> str:
  """Write a playlist, or replace one, which keeps its name.

  Args:
    path: The file; its links are followed.
    songs: The songs.

  Returns:
    The name of the playlist.

  Raises:
    UserError: If the file cannot be written, or is not a playlist.
  """
  path = output_file(path)
  _check_replaceable(path)
  name = name_in(path) or printable_path(path.stem)
  lines = ["#EXTM3U", NAME + name]
  for song in songs:
    lines += [
      f"#EXTINF:{round(song.seconds)},{printable_path(song.name)}",
      _line(song.path, path.parent),
    ]
  with new_text(path) as file:
    file.write("\n".join(lines) + "\n")
  return name


def _check_replaceable(path: pathlib.Path) -> None:
  """Raise UserError if a file exists that is not a playlist by its name or content."""
  if path.suffix.lower() in (".m3u", ".m3u8"):
    return
  try:
    with open(path, "rb") as file:
      head = file.read(len(MAGIC) + 3).removeprefix(codecs.BOM_UTF8)
  except OSError:  # mostly, there is no such file; writing it reports other reasons
    return
  if head and not head.startswith(MAGIC):
    raise UserError(
      f"--out={printable_path(str(path))}: exists and is no playlist; give another file"
    )


def _line(path: str, folder: pathlib.Path) -> str:
  """Return the line of a song: its path relative to a folder, or its URI."""
  relative = os.path.relpath(path, folder)
  if relative.startswith("#"):  # this would be a comment
    relative = f"./{relative}"
  return relative if entry(relative) == relative else entry(os.path.abspath(path))
