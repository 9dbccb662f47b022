"""Keep a music library: `genre-jax library COMMAND ...`.

`scan FOLDER...` analyzes new and changed files. `status` counts what is known, `export` writes it
as a table, and `forget [PATH...]` removes missing files, or those that it names, from the library.
"""

import contextlib
import os
import pathlib
import sqlite3
import sys

from absl import flags

from genre_jax import command_line
from genre_jax.errors import UserError, did_you_mean
from genre_jax.model_flags import ModelFlags

MODEL = ModelFlags()
DB = flags.DEFINE_string(
  "db", "", "File of the library; $XDG_DATA_HOME/genre_jax/library.db if empty."
)
WORKERS = flags.DEFINE_integer(
  "workers", 0, "scan: processes that decode audio; 0: one per core.", lower_bound=0
)
FILE_SECONDS = flags.DEFINE_float(
  "file_seconds",
  60.0,
  "scan: a file that takes longer to read than this and a tenth of its length fails; 0: no limit.",
  lower_bound=0,
)
RETRY = flags.DEFINE_bool("retry", False, "scan: read files again that failed before.")
FORMAT = flags.DEFINE_enum("format", "csv", ["csv", "jsonl"], "export: format.")
OUT = flags.DEFINE_string("out", "", "export: file to write; standard output if empty.")

SHOWN_REASONS, SHOWN_FILES, SHOWN_KINDS = 8, 3, 8


def main(argv: list[str]) -> int:
  """Run the command that the first argument names and return the exit status."""
  commands = {"scan": _scan, "status": _status, "export": _export, "forget": _forget}
  if len(argv) < 2:
    raise UserError(f"give a command: {', '.join(commands)}")
  if argv[1] not in commands:
    raise UserError(
      f"there is no command library {argv[1]}{did_you_mean(argv[1], commands)}; there are:"
      f" {', '.join(commands)}"
    )
  try:
    return commands[argv[1]](argv[2:])
  except sqlite3.Error as error:
    raise UserError(f"--db={_path()}: {error}; free disk space, or give another file") from error


def _path() -> pathlib.Path:
  from genre_jax.library import database

  return pathlib.Path(DB.value).expanduser() if DB.value else database.default_path()


@contextlib.contextmanager
def _library(create: bool = False, write: bool = False):
  """Open the library, alone if it is written."""
  from genre_jax.inference.output_lock import OutputLock
  from genre_jax.library import database

  path = _path()
  with contextlib.closing(database.open_database(path, create)) as db:
    lock = OutputLock(path.resolve()) if write else None
    try:
      yield db
    finally:
      if lock:
        lock.release()


def _model(db):
  """Return the model whose analyses are used: that of --model, or of the last scan."""
  from genre_jax.library import database

  return database.find_model(db, MODEL.given)


def _no_arguments(command: str, arguments: list[str]) -> None:
  if arguments:
    raise UserError(f"library {command} takes no file or folder: {arguments[0]!r}")


def _scan(roots: list[str]) -> int:
  if not roots:
    raise UserError("give one or more folders: `genre-jax library scan FOLDER...`")
  from genre_jax.data.isolated_calls import IsolatedCalls
  from genre_jax.library import read_song

  with IsolatedCalls([read_song.__name__]) as calls:
    calls.start()  # before JAX, which this process imports next
    from tqdm import tqdm

    from genre_jax.library.scan import Report, Scan

    model, report = MODEL.load(), Report()
    with _library(create=True, write=True) as db:
      scan = Scan(db, model, report, RETRY.value)
      todo = scan.find(roots)
      workers = WORKERS.value or min(os.cpu_count() or 1, max(1, len(todo)))
      done = scan.read(todo, calls, workers, FILE_SECONDS.value)
      try:
        for _ in tqdm(done, total=len(todo), unit="file", disable=None, leave=False):
          pass
        scan.mark_missing()
      finally:
        _print_report(report)
  return 1 if report.failures else 0


def _print_report(report) -> None:
  """Print the counts of a scan, and the reasons of failures."""
  from genre_jax.data.names import printable_path
  from genre_jax.library.scan import reasons

  counts = {name: count for name, count in report.counts.items() if name != "missing"}
  parts = ", ".join(f"{count:,} {name}" for name, count in counts.items())
  print(f"{sum(counts.values()):,} files: {parts or 'none'}; {report.counts['missing']:,} missing")
  if report.passed_over:
    kinds = [f"{n} {kind or 'without extension'}" for kind, n in report.passed_over.most_common()]
    more = f" and {len(kinds) - SHOWN_KINDS} kinds more" if len(kinds) > SHOWN_KINDS else ""
    print(f"passed over, not music by their names: {', '.join(kinds[:SHOWN_KINDS])}{more}")
  for reason, paths in reasons(report.failures)[:SHOWN_REASONS]:
    shown = ", ".join(map(printable_path, paths[:SHOWN_FILES]))
    more = f" and {len(paths) - SHOWN_FILES:,} more" if len(paths) > SHOWN_FILES else ""
    print(f"  {reason}: {shown}{more}", file=sys.stderr)


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
  from genre_jax.files import move_into_place
  from genre_jax.library import overview

  with _library() as db:
    found = overview.rows(db, _known_model(db))
    if not OUT.value:
      overview.export(found, FORMAT.value, sys.stdout)
      return 0
    temporary = f"{OUT.value}.tmp"
    try:
      with open(temporary, "w", encoding="utf-8", newline="") as file:
        count = overview.export(found, FORMAT.value, file)
      move_into_place(temporary, OUT.value)
    except OSError as error:
      with contextlib.suppress(OSError):
        os.unlink(temporary)
      raise UserError(
        f"--out={OUT.value}: cannot be written ({error.strerror or error}); give another file"
      ) from error
    print(f"{count:,} files in {OUT.value}", file=sys.stderr)
  return 0


def _forget(paths: list[str]) -> int:
  from genre_jax.library import overview

  with _library(write=True) as db:
    count = overview.forget(db, paths)
  print(f"{count:,} files forgotten")
  return 0


if __name__ == "__main__":
  command_line.run(main)
