"""Store the genres that humans give to songs in the page of `library serve`.

A correction belongs to a sound, so that it survives a move, a copy and a change of tags. Encoded
again, or decoded by another version of the decoder, a song has another sound: `scan` then carries
the correction on. `learn` trains with it, and `tag` writes it.
"""

import sqlite3
import time

from genre_jax.data.names import normal_name
from genre_jax.errors import UserError
from genre_jax.library.browse import UnknownSong
from genre_jax.library.tag_keys import JOINT, parts_of

MAX_LENGTH = 200  # of the genres of a song


def correct(db: sqlite3.Connection, file: int, genre: str) -> str:
  """Store the genre that a human gives to a song.

  Args:
    db: The library.
    file: Id of the file.
    genre: The genre; several are joined by semicolons.

  Returns:
    The genre as it is stored.

  Raises:
    UnknownSong: If the library has no such song.
    UserError: If the genre is empty or too long.
  """
  genres = dict.fromkeys(filter(None, map(normal_name, parts_of(genre))))
  text = JOINT.join(genres)
  if not text or len(text) > MAX_LENGTH or not text.isprintable() or text[0] in "=+-@":
    raise UserError(
      f"genre={genre[:20]!r}: give 1 to {MAX_LENGTH} printable characters, the first of them not"
      " = + - or @"  # a table program would take it as a formula
    )
  db.execute(
    "INSERT INTO correction (sound, genre, decided) VALUES (?, ?, ?)"
    " ON CONFLICT (sound) DO UPDATE SET genre = excluded.genre, decided = excluded.decided",
    (_sound(db, file), text, time.time()),
  )
  return text


def withdraw(db: sqlite3.Connection, file: int) -> None:
  """Remove the genre that a human gave to a song, if there is one.

  Raises:
    UnknownSong: If the library has no such song.
  """
  db.execute("DELETE FROM correction WHERE sound = ?", (_sound(db, file),))


def carry(db: sqlite3.Connection, old: bytes, new: bytes) -> None:
  """Give the correction of one sound to another one that has none.

  Args:
    db: The library.
    old: Hash of the sound that a file had.
    new: Hash of the sound that it has now.
  """
  db.execute(
    "INSERT OR IGNORE INTO correction (sound, genre, decided)"
    " SELECT ?, genre, decided FROM correction WHERE sound = ?",
    (new, old),
  )


def _sound(db: sqlite3.Connection, file: int) -> bytes:
  row = db.execute("SELECT sound FROM file WHERE id = ?", (file,)).fetchone()
  if row is None or row[0] is None:
    raise UnknownSong(file)
  return row[0]
