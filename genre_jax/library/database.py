"""Store a music library in one SQLite file.

Paths are bytes, as the operating system has them. Analyses are stored for each model: an analysis
by one model never replaces that of another.
"""

import contextlib
import json
import os
import pathlib
import sqlite3
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from genre_jax.data.names import printable_path
from genre_jax.errors import UserError, did_you_mean
from genre_jax.library.tag_keys import BASIC, HUMAN

if TYPE_CHECKING:
  from genre_jax.inference.model import Model

VERSION = 2
BUSY_SECONDS = 30.0
SCHEMA = """
CREATE TABLE file (
  id INTEGER PRIMARY KEY AUTOINCREMENT,  -- changes refer to it after a file was forgotten
  path BLOB NOT NULL UNIQUE,
  size INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,
  ctime_ns INTEGER NOT NULL,
  inode INTEGER NOT NULL,
  sound BLOB,               -- SHA-256 of the decoded sound; NULL if it cannot be decoded
  seconds REAL,
  tags TEXT NOT NULL,       -- JSON: title, artist, albumartist, album, genres {place: [genre]}
  status TEXT NOT NULL,     -- 'ok' or 'failed'
  error TEXT NOT NULL,      -- reason of a failure
  missing_since REAL        -- seconds since 1970; NULL if the file is there
) STRICT;
CREATE INDEX file_sound ON file (sound);
CREATE INDEX file_inode ON file (inode);
CREATE INDEX file_state ON file (status, missing_since);
CREATE TABLE model (
  id INTEGER PRIMARY KEY,
  hash TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  classes TEXT NOT NULL,    -- JSON
  task TEXT NOT NULL,
  used REAL NOT NULL        -- last use by a scan, in seconds since 1970
) STRICT;
CREATE TABLE analysis (
  file INTEGER NOT NULL REFERENCES file ON DELETE CASCADE,
  model INTEGER NOT NULL REFERENCES model,
  label TEXT NOT NULL,
  confidence REAL NOT NULL,
  probabilities BLOB NOT NULL,  -- float32[classes]
  embedding BLOB NOT NULL,      -- float16[features]
  UNIQUE (model, file)
) STRICT;
CREATE INDEX analysis_file ON analysis (file);
CREATE INDEX analysis_label ON analysis (model, label, confidence);
CREATE TABLE batch (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,       -- 'tag' or 'undo'
  started REAL NOT NULL,
  finished REAL,
  arguments TEXT NOT NULL   -- JSON
) STRICT;
CREATE TABLE change (
  id INTEGER PRIMARY KEY,
  batch INTEGER NOT NULL REFERENCES batch,
  file INTEGER,             -- of table file; the row may have been forgotten
  path BLOB NOT NULL,
  state TEXT NOT NULL,      -- 'queued', 'planned', 'written', 'undoing' or 'undone'
  temporary BLOB NOT NULL,  -- hidden file that a crash may leave
  before BLOB,              -- SHA-256 of the file before the change
  after BLOB,               -- and after it
  delta BLOB,               -- makes the old file from the new one
  old TEXT NOT NULL,        -- JSON: {place: [genre]} before the change
  new TEXT NOT NULL         -- JSON: [genre]
) STRICT;
CREATE INDEX change_batch ON change (batch, state);
"""
# Text of a file that `browse` searches: {} is its row.
WORDS = " || ' ' || ".join(
  [f"ifnull(json_extract({{0}}.tags, '$.{name}'), '')" for name in BASIC]
  + ["CAST({0}.path AS TEXT)"]
)
REMOVE_WORDS = (
  "INSERT INTO file_words (file_words, rowid, words)"
  f" VALUES ('delete', old.id, {WORDS.format('old')})"
)
ADD_WORDS = f"INSERT INTO file_words (rowid, words) VALUES (new.id, {WORDS.format('new')})"
# What files are sorted by; those without this tag are the last.
SORTED = {
  name: f"ifnull(nullif(json_extract(tags, '$.{name}'), ''), char(1114111)) COLLATE NOCASE"
  for name in ("artist", "title")
}
# Whether the tags of a file have a genre that no model chose.
HUMAN_GENRE = (
  "(ifnull(json_extract(tags, '$.genres'), '{}') != '{}'"
  " AND (ifnull(json_extract(tags, '$.provenance'), '') = ''"
  f" OR instr(json_extract(tags, '$.provenance'), '\"by\": \"{HUMAN}\"') > 0))"
)
# Files without music now: a set, which SQLite computes once for a query.
AWAY = (
  "SELECT id FROM file WHERE status = 'failed'"
  " UNION ALL SELECT id FROM file WHERE status = 'ok' AND missing_since IS NOT NULL"
)
# What version 2 added.
ADDED = (
  "CREATE TABLE correction ("  # the genre that a human gave to a sound, whatever its file
  " sound BLOB PRIMARY KEY,"
  " genre TEXT NOT NULL,"  # several are joined by semicolons
  " decided REAL NOT NULL"  # seconds since 1970
  ") STRICT",
  "CREATE INDEX analysis_confidence ON analysis (model, confidence, file, label)",
  f"CREATE INDEX file_artist ON file ({SORTED['artist']})",
  f"CREATE INDEX file_title ON file ({SORTED['title']})",
  f"CREATE INDEX file_reviewed ON file (id) WHERE {HUMAN_GENRE}",
  "CREATE VIRTUAL TABLE file_words USING fts5"
  " (words, content='', tokenize='unicode61 remove_diacritics 2')",
  f"CREATE TRIGGER file_added AFTER INSERT ON file BEGIN {ADD_WORDS}; END",
  f"CREATE TRIGGER file_removed AFTER DELETE ON file BEGIN {REMOVE_WORDS}; END",
  "CREATE TRIGGER file_changed AFTER UPDATE OF path, tags ON file"
  f" BEGIN {REMOVE_WORDS}; {ADD_WORDS}; END",
  f"INSERT INTO file_words (rowid, words) SELECT id, {WORDS.format('file')} FROM file",
)
# What to do about an error of SQLite, by its name.
REMEDIES = {
  "SQLITE_BUSY": "wait until the other command ends",
  "SQLITE_CANTOPEN": "make its folder writable, or give another file",
  "SQLITE_CORRUPT": "restore a backup of it, or move it away and scan again",
  "SQLITE_FULL": "free disk space, or give another file",
  "SQLITE_IOERR": "free disk space, or give another file",
  "SQLITE_NOTADB": "give another file",
  "SQLITE_READONLY": "make the file and its folder writable, or give another file",
}


def default_path() -> pathlib.Path:
  """Return $XDG_DATA_HOME/genre_jax/library.db, or ~/.local/share/genre_jax/library.db.

  A relative XDG_DATA_HOME is ignored, as the XDG Base Directory Specification requires.
  """
  base = os.environ.get("XDG_DATA_HOME", "")
  root = pathlib.Path(base) if os.path.isabs(base) else pathlib.Path.home() / ".local" / "share"
  return root / "genre_jax" / "library.db"


def fault(path: pathlib.Path, error: sqlite3.Error) -> UserError:
  """Return an error of SQLite with what to do about it."""
  name = "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])  # without the finer kind
  return UserError(f"--db={path}: {error}; {REMEDIES.get(name, 'give another file')}")


def check_place(path: pathlib.Path, create: bool) -> None:
  """Create the folder of a library if `create`; else raise UserError if there is no such file."""
  try:
    if create:
      path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.is_file() or not path.stat().st_size:
      raise UserError(f"--db={path}: there is no library: run `genre-jax library scan FOLDER`")
  except OSError as error:
    raise UserError(
      f"--db={path}: cannot be opened ({error.strerror or error}); give another file"
    ) from error


def open_database(path: pathlib.Path, create: bool = False) -> sqlite3.Connection:
  """Open a library.

  What is read-only, the file or its folder, can be read.

  Args:
    path: The database file.
    create: Create it, and its folder, if it does not exist.

  Raises:
    UserError: If it does not exist, is not a library, or belongs to a newer version.
  """
  check_place(path, create)
  try:
    db = _connect(path)
  except sqlite3.Error as error:
    raise fault(path, error) from error
  try:
    db.execute("PRAGMA foreign_keys = ON")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if not version:
      if db.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise UserError(f"--db={path}: is another program's database; give another file")
      db.execute("PRAGMA journal_mode = WAL")
      db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = 1; COMMIT;")
    elif version > VERSION:
      raise UserError(
        f"--db={path}: has version {version}, this program reads {VERSION}; update"
        " genre_jax, or give another file"
      )
    if version < VERSION:
      _upgrade(db)
    db.execute("PRAGMA synchronous = FULL")
  except sqlite3.Error as error:
    db.close()
    raise fault(path, error) from error
  except BaseException:
    db.close()
    raise
  return db


def _connect(path: pathlib.Path) -> sqlite3.Connection:
  """Return a connection, for reading alone where SQLite cannot create its files beside a library.

  Raises:
    sqlite3.Error: If it cannot be read.
  """
  db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
  try:
    db.execute("SELECT 1 FROM sqlite_master").fetchone()
    return db
  except sqlite3.Error as error:
    db.close()
    closed = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
    log = path.with_name(path.name + "-wal")
    if not closed or not path.is_file() or (log.exists() and log.stat().st_size):
      raise
  # Nothing waits in its log, and no other command can write it either.
  return sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True, isolation_level=None)


def _upgrade(db: sqlite3.Connection) -> None:
  """Bring a library of version 1 to this version, unless another command has done so meanwhile."""
  with transaction(db):
    if db.execute("PRAGMA user_version").fetchone()[0] < VERSION:
      for statement in ADDED:
        db.execute(statement)
      db.execute(f"PRAGMA user_version = {VERSION}")


def register_model(db: sqlite3.Connection, model: "Model") -> int:
  """Return the id of a model, which becomes the last used one."""
  from genre_jax.inference.model_dir import model_hash

  digest = model_hash(model)
  db.execute(
    "INSERT INTO model (hash, name, classes, task, used) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (hash) DO UPDATE SET used = excluded.used",
    (digest, model.name, json.dumps(model.classes), model.task, time.time()),
  )
  return db.execute("SELECT id FROM model WHERE hash = ?", (digest,)).fetchone()[0]


def find_model(db: sqlite3.Connection, name: str = "") -> dict[str, Any]:
  """Find the model whose analyses a command uses.

  Args:
    db: The library.
    name: Name of a model, or at least six characters of its hash; '' for the one of the last scan.

  Returns:
    {"id", "hash", "name", "classes", "task"}.

  Raises:
    UserError: If there is no such model in the library.
  """
  rows = db.execute("SELECT id, hash, name, classes, task FROM model ORDER BY used DESC").fetchall()
  for row in rows:
    if not name or row[2] == name or (len(name) >= 6 and row[1].startswith(name)):
      return {
        "id": row[0],
        "hash": row[1],
        "name": row[2],
        "classes": json.loads(row[3]),
        "task": row[4],
      }
  if not rows:
    raise UserError("the library is empty: run `genre-jax library scan FOLDER`")
  names = [row[2] for row in rows]
  raise UserError(
    f"--model={name}: the library has no analyses by it{did_you_mean(name, names)}; it has those of"
    f" {', '.join(dict.fromkeys(names))}; run `genre-jax library scan --model={name} FOLDER`"
  )


def beneath(folder: bytes) -> tuple[bytes, bytes]:
  """Return the range of paths in a folder and its subfolders: first, and last (exclusive)."""
  folder = folder.rstrip(b"/")
  return folder + b"/", folder + b"0"  # 0 follows the slash


def named_files(db: sqlite3.Connection, path: str) -> tuple[bytes, bytes, bytes]:
  """Return a path that a user gave, absolute, and the range of `beneath` for it as a folder.

  Raises:
    UserError: If the library has no such file and none in such a folder.
  """
  name = absolute(path)
  found = (name, *beneath(name))
  if not db.execute(
    "SELECT 1 FROM file WHERE path = ? OR path >= ? AND path < ?", found
  ).fetchone():
    raise UserError(
      f"{printable_path(path)}: is not in the library: run `genre-jax library scan` on its folder"
    )
  return found


def absolute(path: str) -> bytes:
  """Return a path that a user gave as the library stores it."""
  return os.fsencode(os.path.abspath(os.path.expanduser(path)))


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
  """Commit what the block does as a whole, or roll it back."""
  db.execute("BEGIN IMMEDIATE")
  try:
    yield
    db.execute("COMMIT")
  except BaseException:
    if db.in_transaction:  # SQLite ends it itself after some errors, as on a full disk
      db.execute("ROLLBACK")
    raise
