"""Classify audio files: `python -m genre_jax.predict [--model=NAME|DIR] FILES_OR_FOLDERS...`.

Prints one line per file. A file that cannot be decoded gets a line with the reason, and the exit
status is 1.
"""

import collections
import os
import pathlib
import sys

from absl import flags

from genre_jax import command_line
from genre_jax.errors import UserError
from genre_jax.model_flags import ModelFlags

MODEL = ModelFlags()
FORMATS = ("table", "jsonl", "csv", "parquet")
FORMAT = flags.DEFINE_enum(
  "format", "table", FORMATS, "Format of the predictions; if absent, the end of the name of --out."
)
OUT = flags.DEFINE_string(
  "out", "", "File for the predictions; audio files that it already contains are skipped."
)
TIMELINE = flags.DEFINE_bool("timeline", False, "Also predict the genre over time.")
MIN_CONFIDENCE = flags.DEFINE_float(
  "min_confidence",
  0.0,
  "Below this probability the genre is 'unknown'.",
  lower_bound=0,
  upper_bound=1,
)
SEGMENTS = flags.DEFINE_integer(
  "segments",
  None,
  "Segments of each file to predict on, evenly spaced; 0: the whole file. If absent, the number"
  " used in evaluation for each 30 s.",
  lower_bound=0,
)
EXCERPTS = flags.DEFINE_integer(
  "excerpts",
  0,
  "Excerpts of 30 s to read of each file, evenly spaced, instead of the whole file; 0: the whole.",
  lower_bound=0,
)
PLAYLISTS = flags.DEFINE_string("playlists", "", "Folder for one .m3u8 playlist per genre.")
EMBEDDINGS = flags.DEFINE_string(
  "embeddings", "", "Parquet file for embeddings of the penultimate layer."
)
WORKERS = flags.DEFINE_integer(
  "workers",
  0,
  "Files at a time, each with a process that decodes and a thread that predicts; 0: one per core.",
  lower_bound=0,
)

FILE_SECONDS = flags.DEFINE_float(
  "file_seconds",
  60.0,
  "A file that takes longer to read than this and a tenth of its length fails; 0: no limit.",
  lower_bound=0,
)

SHOWN_FAILURES, SHOWN_KINDS = 20, 8


def main(argv: list[str]) -> int:
  """Predict all files and return the exit status."""
  if len(argv) < 2:
    raise UserError("give one or more audio files or folders")
  if "-" in argv[1:] and (OUT.value or sys.stdin.isatty()):
    raise UserError(
      "-: standard input has no name by which --out could resume; redirect the output instead"
      if OUT.value
      else "-: standard input is a terminal; pipe a sound file into it"
    )
  if FORMAT.value == "parquet" and not OUT.value:
    raise UserError("--format=parquet needs --out=FILE")
  if FORMAT.value == "table" and OUT.value:
    end = pathlib.Path(OUT.value).suffix.removeprefix(".").lower()
    if flags.FLAGS["format"].present:
      raise UserError("--format=table only prints: give jsonl, csv or parquet with --out")
    if end not in FORMATS[1:]:
      raise UserError(
        f"--out={OUT.value}: give --format=jsonl, csv or parquet, or a name that ends so"
      )
    flags.FLAGS["format"].value = end
  from genre_jax.data.isolated_calls import IsolatedCalls

  # The first log-mel imports SciPy.
  with IsolatedCalls(["genre_jax.inference.track_log_mel", "scipy.fft", "scipy.sparse"]) as calls:
    calls.start()  # imports its modules while this process imports JAX
    return _predict(argv, calls)


def _predict(argv, calls):
  """Predict all files with worker processes."""
  from tqdm import tqdm

  from genre_jax.inference import parquet_writer, playlists, predict_files, prediction_rows
  from genre_jax.inference.lines_writer import LinesWriter
  from genre_jax.inference.model import compute_in_calling_thread
  from genre_jax.inference.prediction_table import PredictionTable

  passed_over: collections.Counter[str] = collections.Counter()
  found = list(predict_files.find_files(argv[1:], passed_over))
  if WORKERS.value or len(found) >= (os.cpu_count() or 1):
    compute_in_calling_thread()
  model = MODEL.load()
  timeline = TIMELINE.value
  out = pathlib.Path(OUT.value) if OUT.value else None
  names = prediction_rows.columns(model.classes, timeline)
  sinks = []
  if out and EMBEDDINGS.value and os.path.realpath(out) == os.path.realpath(EMBEDDINGS.value):
    raise UserError(f"--out and --embeddings are both {out}: give two files")
  if FORMAT.value == "parquet":
    sinks.append(parquet_writer.prediction_writer(out, names, timeline))
  elif FORMAT.value != "table":
    sinks.append(LinesWriter(out, FORMAT.value, names, timeline))
  if EMBEDDINGS.value:
    sinks.append(parquet_writer.embedding_writer(pathlib.Path(EMBEDDINGS.value)))
  for sink in sinks:
    prediction_rows.check_continued(sink.existing, model, MIN_CONFIDENCE.value)
  lists = playlists.playlist_folder(PLAYLISTS.value) if PLAYLISTS.value else None

  # Predict a file again if any of the output files lacks it.
  existing = [sink.existing for sink in sinks] if out else []
  known, todo, rows_done = 0, [], []
  for path, fault in found:
    name = predict_files.printable_path(path)
    if existing and all(name in rows for rows in existing):
      known += 1
      row = existing[0][name]
      rows_done.append((name, path, row["status"], row["genre"], row["error"]))
    else:
      todo.append((path, fault))
  table = PredictionTable(model)
  if FORMAT.value == "table":
    print(table.header())
  for prediction in tqdm(
    predict_files.predict_found(
      todo,
      model,
      segments=SEGMENTS.value,
      timeline=timeline,
      min_confidence=MIN_CONFIDENCE.value,
      workers=WORKERS.value,
      file_seconds=FILE_SECONDS.value,
      excerpts=EXCERPTS.value,
      calls=calls,
    ),
    total=len(todo),
    unit="file",
    disable=None if len(todo) > 1 else True,
    leave=False,
  ):
    if FORMAT.value == "table":
      tqdm.write(table.lines(prediction))
    for sink in sinks:
      sink.write(prediction)
    rows_done.append(
      (prediction.file, prediction.path, prediction.status, prediction.genre, prediction.error)
    )
  for sink in sinks:
    sink.close()
  if lists:
    count = playlists.write_playlists(
      lists, [(path, genre) for _, path, status, genre, _ in rows_done if status == "ok"]
    )
    print(f"{count} playlists in {lists}", file=sys.stderr)
  failed = [(file, error) for file, _, status, _, error in rows_done if status == "failed"]
  if len(rows_done) > 1 or failed or passed_over:
    _summary(len(rows_done), failed, known, passed_over)
  return 1 if failed else 0


def _summary(count: int, failed: list[tuple[str, str]], known: int, passed_over) -> None:
  """Print the numbers of files, those passed over, and the failures on standard error."""
  before = f" ({known} from an earlier run)" if known else ""
  print(
    f"{count} files{before}: {count - len(failed)} predicted, {len(failed)} failed", file=sys.stderr
  )
  if passed_over:
    kinds = [
      f"{number} {kind or 'without extension'}" for kind, number in passed_over.most_common()
    ]
    more = f" and {len(kinds) - SHOWN_KINDS} kinds more" if len(kinds) > SHOWN_KINDS else ""
    print(
      f"passed over, not music by their names: {', '.join(kinds[:SHOWN_KINDS])}{more}",
      file=sys.stderr,
    )
  for file, error in failed[:SHOWN_FAILURES]:
    print(f"  {file}: {error}", file=sys.stderr)
  if len(failed) > SHOWN_FAILURES:
    print(f"  and {len(failed) - SHOWN_FAILURES} more", file=sys.stderr)


if __name__ == "__main__":
  command_line.run(main)
