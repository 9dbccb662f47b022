"""What genre is it: `python -m genre_jax.predict [--model=NAME|DIR] FILES_OR_FOLDERS...`.

Every file gets a line; what cannot be heard gets one with the reason, and exit status 1.
"""

import pathlib
import sys

from absl import flags

from genre_jax import command_line
from genre_jax.errors import UserError

MODEL = flags.DEFINE_string("model", "axis_features_10", "A model's name, its directory, or a run.")
FORMAT = flags.DEFINE_enum(
  "format", "table", ["table", "jsonl", "csv", "parquet"], "How answers are written."
)
OUT = flags.DEFINE_string("out", "", "File for the answers; files that it holds are skipped.")
TIMELINE = flags.DEFINE_bool("timeline", False, "Also tell the genre over time.")
MIN_CONFIDENCE = flags.DEFINE_float(
  "min_confidence",
  0.0,
  "Say 'unknown' rather than guess below this probability.",
  lower_bound=0,
  upper_bound=1,
)
WINDOWS = flags.DEFINE_integer(
  "windows",
  None,
  "Windows heard of each file, evenly spaced; 0: all of it. As many as in"
  " evaluation of each 30 s if absent.",
  lower_bound=0,
)
PLAYLISTS = flags.DEFINE_string("playlists", "", "Folder for a .m3u8 of each genre.")
EMBEDDINGS = flags.DEFINE_string("embeddings", "", "Parquet file for the penultimate layer.")
WORKERS = flags.DEFINE_integer("workers", 0, "Processes that decode; 0: one a core.", lower_bound=0)

SHOWN_FAILURES = 20


def main(argv: list[str]) -> int:
  """Predicts; returns the exit status."""
  if len(argv) < 2:
    raise UserError("give one or more audio files or folders")
  if FORMAT.value == "parquet" and not OUT.value:
    raise UserError("--format=parquet needs --out=FILE")
  if FORMAT.value == "table" and OUT.value:
    raise UserError("--out needs --format=jsonl, csv or parquet: a table is for reading")
  from tqdm import tqdm

  from genre_jax.inference import playlists, predict_files, writers
  from genre_jax.inference.model import keep_compiled_programs, load
  from genre_jax.inference.prediction_table import PredictionTable

  keep_compiled_programs()
  model = load(MODEL.value)
  timeline = TIMELINE.value
  out = pathlib.Path(OUT.value) if OUT.value else None
  names = writers.columns(model.classes, timeline)
  sinks = []
  if out and EMBEDDINGS.value and out.resolve() == pathlib.Path(EMBEDDINGS.value).resolve():
    raise UserError(f"--out and --embeddings are both {out}: give two files")
  if FORMAT.value == "parquet":
    sinks.append(writers.predictions_as_parquet(out, names, timeline))
  elif FORMAT.value != "table":
    sinks.append(writers.Lines(out, FORMAT.value, names, timeline))
  if EMBEDDINGS.value:
    sinks.append(writers.embeddings_as_parquet(pathlib.Path(EMBEDDINGS.value)))
  for sink in sinks:
    writers.check_continued(sink.held, model, MIN_CONFIDENCE.value)
  lists = playlists.playlist_folder(PLAYLISTS.value) if PLAYLISTS.value else None

  found = list(predict_files.find_files(argv[1:]))
  # A file is asked again where one of the files to be written lacks it.
  held = [sink.held for sink in sinks] if out else []
  known, todo, rows_done = 0, [], []
  for path, wrong in found:
    name = predict_files.printable_path(path)
    if held and all(name in rows for rows in held):
      known += 1
      rows_done.append((name, path, *(held[0][name][key] for key in ("status", "genre", "error"))))
    else:
      todo.append((path, wrong))
  table = PredictionTable(model)
  if FORMAT.value == "table":
    print(table.header())
  for prediction in tqdm(
    predict_files.predict_found(
      todo,
      model,
      windows=WINDOWS.value,
      timeline=timeline,
      min_confidence=MIN_CONFIDENCE.value,
      workers=WORKERS.value,
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
  if len(rows_done) > 1 or failed:
    _summary(len(rows_done), failed, known)
  return 1 if failed else 0


def _summary(count: int, failed: list[tuple[str, str]], known: int) -> None:
  """How many and which, on standard error."""
  before = f" ({known} of them before)" if known else ""
  print(
    f"{count} files{before}: {count - len(failed)} answered, {len(failed)} failed", file=sys.stderr
  )
  for file, error in failed[:SHOWN_FAILURES]:
    print(f"  {file}: {error}", file=sys.stderr)
  if len(failed) > SHOWN_FAILURES:
    print(f"  and {len(failed) - SHOWN_FAILURES} more", file=sys.stderr)


if __name__ == "__main__":
  command_line.run(main)
