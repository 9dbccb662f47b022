"""Keep a music library: `genre-jax library COMMAND ...`.

`scan FOLDER...` analyzes new and changed files. `tag [PATH...]` writes genres into files that have
none, and `undo` restores these files; both only print what they would do without --write. `similar
SONG` lists songs like one, and `playlist` writes an M3U8 file. `learn` makes a model of the user's
own genres. `serve` shows the library in a browser, and as JSON. `status` counts what is known,
`export` writes it as a table, and `forget [PATH...]` removes missing files, or those that it names,
from the library. `names [LABEL...]` prints the genres that `tag` writes for labels, as CSV.
"""

import contextlib
import pathlib
import sqlite3
import sys

from absl import flags

from genre_jax import command_line
from genre_jax.engine_flags import EngineFlags
from genre_jax.errors import UserError
from genre_jax.library import messages
from genre_jax.model_flags import ModelFlags
from genre_jax.serve_flags import ServeFlags

MODEL = ModelFlags()
SERVE = ServeFlags(7870, "serve: ")
DB = flags.DEFINE_string(
  "db", "", "File of the library; $XDG_DATA_HOME/genre_jax/library.db if empty."
)
ENGINE = EngineFlags("scan")
PARTITION_FILES = flags.DEFINE_integer(
  "partition_files", 32, "scan --engine=ray: files of a partition.", lower_bound=1
)
FILE_SECONDS = flags.DEFINE_float(
  "file_seconds",
  60.0,
  "scan: a file that takes longer to read than this and a tenth of its length fails; 0: no limit.",
  lower_bound=0,
)
RETRY = flags.DEFINE_bool("retry", False, "scan: read files again that failed before.")
WRITE = flags.DEFINE_bool("write", False, "tag, undo, serve: change files; otherwise none.")
MIN_CONFIDENCE = flags.DEFINE_float(
  "min_confidence", 0.5, "tag: least probability of a genre.", lower_bound=0, upper_bound=1
)
MAX_GENRES = flags.DEFINE_integer(
  "max_genres", 1, "tag: largest number of genres of a file.", lower_bound=1
)
REPLACE = flags.DEFINE_enum(
  "replace",
  "none",
  ["none", "ours", "all"],
  "tag: genres that may be replaced: none, those that this program wrote, or all.",
)
NAMES = flags.DEFINE_string(
  "names",
  "",
  "tag, playlist, serve, names: CSV file with the columns label and tag; its rows replace the"
  " built-in ones.",
)
BATCH = flags.DEFINE_integer(
  "batch", 0, "undo: number of the batch, as `status` lists them; 0: the last.", lower_bound=0
)
GENRE_ONLY = flags.DEFINE_bool(
  "genre_only", False, "undo: restore the genre alone, also of files that changed since."
)
PRESERVE_MTIME = flags.DEFINE_bool(
  "preserve_mtime",
  False,
  "tag, undo: keep the time of the last change of a file; servers and backups may not notice it.",
)
COUNT = flags.DEFINE_integer("count", 20, "similar, playlist: number of songs.", lower_bound=1)
PER_ARTIST = flags.DEFINE_integer(
  "per_artist", 2, "similar, playlist: songs of one artist; 0: no limit.", lower_bound=0
)
PER_ALBUM = flags.DEFINE_integer(
  "per_album", 1, "similar, playlist: songs of one album; 0: no limit.", lower_bound=0
)
MAX_DISTANCE = flags.DEFINE_float(
  "max_distance", None, "similar, playlist: largest distance, from 0 to 2.", lower_bound=0
)
EXCLUDE = flags.DEFINE_multi_string(
  "exclude", [], "similar, playlist: pattern of paths to leave out, as '*/Live/*'; can be repeated."
)
SEEDS = flags.DEFINE_list(
  "seeds",
  [],
  "playlist: songs that the others are near to, separated by commas; quote a path that has one.",
)
FROM = flags.DEFINE_string(
  "from",
  "",
  "playlist: first song of a path to the song --to. learn: genre, for those in the files' tags, or"
  " a CSV file with the columns file and genre; genre if empty.",
)
TO = flags.DEFINE_string("to", "", "playlist: last song of a path.")
GENRE = flags.DEFINE_string("genre", "", "playlist: genre of the songs.")
FORMAT = flags.DEFINE_enum("format", "csv", ["csv", "jsonl"], "export: format.")
OUT = flags.DEFINE_string(
  "out",
  "",
  "export, playlist: file to write; `export` prints if it is empty. learn: model directory.",
)


def main(argv: list[str]) -> int:
  """Run the command that the first argument names and return the exit status."""
  runs = _scan, _tag, _undo, _similar, _playlist, _learn, _serve, _status, _export, _names, _forget
  commands = {run.__name__[1:]: run for run in runs}
  command = command_line.choose(commands, "library", argv)
  try:
    return command(argv[2:])
  except sqlite3.Error as error:
    from genre_jax.library import database

    raise database.fault(_path(), error) from error


def _path() -> pathlib.Path:
  from genre_jax.library import database

  return pathlib.Path(DB.value).expanduser() if DB.value else database.default_path()


@contextlib.contextmanager
def _library(create: bool = False, write: bool = False):
  """Open the library; if it is written, alone, after settling what was interrupted."""
  from genre_jax.inference.output_lock import OutputLock
  from genre_jax.library import changes, database

  path = _path()
  with contextlib.ExitStack() as stack:
    if write:
      database.check_place(path, create)
      stack.enter_context(OutputLock(path.resolve()))
    db = stack.enter_context(contextlib.closing(database.open_database(path, create)))
    if write:
      messages.print_unclear(changes.settle(db))
    yield db


def _model(db):
  """Return the model whose analyses are used: that of --model, or of the last scan."""
  from genre_jax.library import database

  return database.find_model(db, pathlib.Path(MODEL.given).name)


def _no_arguments(command: str, arguments: list[str]) -> None:
  if arguments:
    raise UserError(f"library {command} takes no file or folder: {arguments[0]!r}")


def _scan(roots: list[str]) -> int:
  if not roots:
    raise UserError("give one or more folders: `genre-jax library scan FOLDER...`")
  if ENGINE.is_ray(PARTITION_FILES):
    return _scan_with(None, roots)
  from genre_jax.data.isolated_calls import IsolatedCalls
  from genre_jax.library import read_song

  with IsolatedCalls([read_song.__name__]) as calls:
    calls.start()  # before JAX, which this process imports next
    return _scan_with(calls, roots)


def _scan_with(calls, roots):
  """Scan with worker processes, or on a Ray cluster if there are none."""
  from genre_jax.distributed import ray_tasks
  from genre_jax.inference.model import compute_in_calling_thread
  from genre_jax.library import read_song, scan

  seconds = FILE_SECONDS.value
  with _library(create=True, write=True) as db:
    known = None if MODEL.chosen else _known_model(db)
    compute_in_calling_thread()
    model = MODEL.load_same(known) if known else MODEL.load()

    def read(paths, then):
      if calls is not None:
        return read_song.read_songs(paths, model.frontend, calls, ENGINE.workers, seconds, then)
      everywhere = MODEL.everywhere(model, known["name"] if known else "")
      return ray_tasks.read_songs(
        paths, everywhere, seconds, PARTITION_FILES.value, address=ENGINE.address
      )

    return scan.run(db, model, roots, read, RETRY.value)


def _tag(paths: list[str]) -> int:
  from genre_jax.library import label_names, tagging

  options = tagging.Options(
    label_names.read_names(NAMES.value),
    MIN_CONFIDENCE.value,
    MAX_GENRES.value,
    REPLACE.value,
    PRESERVE_MTIME.value,
  )
  with _library(write=WRITE.value) as db:
    return tagging.run(db, _model(db), options, paths, WRITE.value)


def _undo(arguments: list[str]) -> int:
  _no_arguments("undo", arguments)
  from genre_jax.library import undo

  with _library(write=WRITE.value) as db:
    batch = undo.find_batch(db, BATCH.value)
    return undo.run(
      db, batch, WRITE.value, genre_only=GENRE_ONLY.value, preserve_mtime=PRESERVE_MTIME.value
    )


def _limits():
  from genre_jax.library.similar import Limits

  return Limits(
    COUNT.value, PER_ARTIST.value, PER_ALBUM.value, MAX_DISTANCE.value, tuple(EXCLUDE.value)
  )


def _similar(paths: list[str]) -> int:
  if len(paths) != 1:
    raise UserError("give one song: `genre-jax library similar SONG`")
  from genre_jax.library.embeddings import Embeddings
  from genre_jax.library.similar import find_song, similar

  with _library() as db:
    seed = find_song(db, paths[0])
    songs = similar(db, Embeddings(db, _model(db)), [seed], _limits())
  messages.print_songs(songs)
  return 0


def _playlist(arguments: list[str]) -> int:
  _no_arguments("playlist", arguments)
  if not OUT.value:
    raise UserError("--out is missing: give a playlist to write, as --out=songs.m3u8")
  if any(SEEDS.value) + bool(FROM.value or TO.value) + bool(GENRE.value) != 1:
    raise UserError("give one of --seeds=A,B, --from=A --to=B and --genre=NAME")
  if bool(FROM.value) != bool(TO.value):
    raise UserError("--from and --to belong together: give both songs")
  from genre_jax.library import label_names, playlist
  from genre_jax.library.embeddings import Embeddings
  from genre_jax.library.similar import find_song

  with _library() as db:
    model, limits = _model(db), _limits()
    if GENRE.value:
      names = label_names.read_names(NAMES.value)
      songs = playlist.of_genre(db, model, GENRE.value, names, limits)
    elif FROM.value:
      first, last = find_song(db, FROM.value), find_song(db, TO.value)
      songs = playlist.path_between(db, Embeddings(db, model), first, last, limits)
    else:
      seeds = [find_song(db, path) for path in SEEDS.value if path]
      songs = playlist.from_seeds(db, Embeddings(db, model), seeds, limits)
  name = playlist.write_playlist(pathlib.Path(OUT.value), songs)
  print(f"{name}: {len(songs)} songs in {OUT.value}", file=sys.stderr)
  return 0


def _learn(arguments: list[str]) -> int:
  _no_arguments("learn", arguments)
  if not OUT.value:
    raise UserError("--out is missing: give a model directory to write, as --out=my_genres")
  from genre_jax.inference import model_dir
  from genre_jax.library import learn
  from genre_jax.library.learning_examples import read_examples

  with _library() as db:
    known = _model(db)
    MODEL.load_same(known)  # it may be another one now, of the same name
    table = "" if FROM.value == "genre" else FROM.value
    examples = read_examples(db, known["id"], table)
  metadata, variables = model_dir.find_model(MODEL.given or known["name"])
  metrics, wrong = learn.learn(examples, metadata, variables, OUT.value)
  print(*learn.summary(examples, metrics, wrong, OUT.value), sep="\n")
  return 0


def _serve(arguments: list[str]) -> int:
  _no_arguments("serve", arguments)
  from genre_jax.library import label_names, tagging
  from genre_jax.web import run

  with _library(write=WRITE.value) as db:
    known = _model(db)

  names = label_names.read_names(NAMES.value)
  options = tagging.Options(names, min_confidence=0.0) if WRITE.value else None
  with command_line.ctrl_c_ends():
    run.serve_library(SERVE.options, _path(), known, lambda: MODEL.load_same(known), options)
  return 0


def _known_model(db):
  """Return the model of --model or of the last scan; None if nothing was analyzed."""
  empty = db.execute("SELECT 1 FROM model").fetchone() is None
  return None if empty and not MODEL.given else _model(db)


def _status(arguments: list[str]) -> int:
  _no_arguments("status", arguments)
  from genre_jax.library import overview

  with _library() as db:
    print(f"library {_path()}")
    print("\n".join(overview.status(db, _known_model(db))))
  return 0


def _export(arguments: list[str]) -> int:
  _no_arguments("export", arguments)
  from genre_jax.library import overview

  with _library() as db:
    found = overview.rows(db, _known_model(db))
    if OUT.value:
      count = overview.export_to(OUT.value, found, FORMAT.value)
      print(f"{count:,} files in {OUT.value}", file=sys.stderr)
    else:
      overview.export(found, FORMAT.value, sys.stdout)
  return 0


def _names(labels: list[str]) -> int:
  from genre_jax.library import label_names

  label_names.print_names(labels, label_names.read_names(NAMES.value), sys.stdout)
  return 0


def _forget(paths: list[str]) -> int:
  from genre_jax.library import overview

  with _library(write=True) as db:
    count = overview.forget(db, paths)
  print(f"{count:,} files forgotten")
  return 0


if __name__ == "__main__":
  command_line.run(main)
