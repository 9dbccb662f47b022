"""Classify very many files in partitions: `genre-jax job predict|merge DIR ...`.

`predict DIR FILES_OR_FOLDERS...` predicts the files in partitions, each of which becomes a file in
the folder DIR. The same command resumes; without files it takes those of DIR. With --retry it
computes finished partitions with failed files again.
`merge DIR --out=FILE` writes the predictions of all partitions as one file.
"""

import collections
import functools
import os
import pathlib
import sys

from absl import flags

from genre_jax import command_line
from genre_jax.engine_flags import EngineFlags
from genre_jax.errors import UserError
from genre_jax.model_flags import ModelFlags

MODEL = ModelFlags()
PARTITION_FILES = flags.DEFINE_integer(
  "partition_files",
  256,
  "predict: files of a partition, which is what an interruption costs.",
  lower_bound=1,
  upper_bound=100_000,
)
SEGMENTS = flags.DEFINE_integer(
  "segments", None, "predict: segments of each file, as of the command predict.", lower_bound=0
)
TIMELINE = flags.DEFINE_bool("timeline", False, "predict: also predict the genre over time.")
MIN_CONFIDENCE = flags.DEFINE_float(
  "min_confidence",
  0.0,
  "predict: below this probability the genre is 'unknown'.",
  lower_bound=0,
  upper_bound=1,
)
FILE_SECONDS = flags.DEFINE_float(
  "file_seconds",
  60.0,
  "predict: a file that takes longer to read than this and a tenth of its length fails; 0: no"
  " limit.",
  lower_bound=0,
)
RETRY = flags.DEFINE_bool(
  "retry", False, "predict: compute finished partitions again that have failed files."
)
ENGINE = EngineFlags("predict")
OUT = flags.DEFINE_string(
  "out", "", "merge: file to write; its name ends in .csv, .jsonl or .parquet."
)

SHOWN_FAILURES = 20


def main(argv: list[str]) -> int:
  """Run the command that the first argument names and return the exit status."""
  commands = {"predict": _predict, "merge": _merge}
  command = command_line.choose(commands, "job", argv)
  if len(argv) < 3:
    raise UserError(f"give the folder of the job: genre-jax job {argv[1]} DIR")
  return command(pathlib.Path(argv[2]).expanduser(), argv[3:])


def _predict(directory, paths):
  if "-" in paths:
    raise UserError("-: a job cannot read standard input; give files or folders")
  if ENGINE.is_ray():
    return _run(directory, paths, None)
  from genre_jax.data.isolated_calls import IsolatedCalls

  with IsolatedCalls(["genre_jax.inference.track_log_mel"]) as calls:
    calls.start()  # imports its modules while this process imports JAX
    return _run(directory, paths, calls)


def _run(directory, paths, calls):
  from genre_jax.data import objects
  from genre_jax.distributed import job, manifest, pool, ray_tasks
  from genre_jax.inference import predict_files
  from genre_jax.inference.model import compute_in_calling_thread

  compute_in_calling_thread()
  model = MODEL.load()
  settings = manifest.settings_of(
    model,
    segments=SEGMENTS.value,
    timeline=TIMELINE.value,
    min_confidence=MIN_CONFIDENCE.value,
    partition_files=PARTITION_FILES.value,
  )
  passed_over: collections.Counter[str] = collections.Counter()
  # Absolute: another command, or another machine, may have another working folder.
  files = [
    (path if objects.protocol(path) else os.path.abspath(path), fault)
    for path, fault in predict_files.find_files(paths, passed_over)
  ]
  if calls is None:
    engine = functools.partial(
      ray_tasks.predict_all,
      model=MODEL.everywhere(model),
      address=ENGINE.address,
    )
  else:
    engine = functools.partial(pool.predict_all, model=model, calls=calls, workers=ENGINE.workers)
  summary = job.run(
    directory,
    settings,
    files,
    engine,
    file_seconds=FILE_SECONDS.value,
    num_failures=SHOWN_FAILURES,
    retry=RETRY.value,
  )
  before = f" ({summary.earlier} from an earlier run)" if summary.earlier else ""
  _print(summary, f"in {summary.partitions} partitions{before}")
  if passed_over:
    print(f"passed over, not music by their names: {passed_over.total()} files", file=sys.stderr)
  return 1 if summary.failed else 0


def _merge(directory, rest):
  if rest:
    raise UserError(f"unexpected argument {rest[0]!r}: `job merge` takes one folder")
  if not OUT.value:
    raise UserError("--out is missing: give a file, as --out=predictions.csv")
  from genre_jax.distributed.merge import merge

  summary = merge(directory, pathlib.Path(OUT.value).expanduser(), num_failures=SHOWN_FAILURES)
  _print(summary, f"in {OUT.value}")
  return 0


def _print(summary, where):
  """Print the counts and the failures on standard error."""
  print(
    f"{summary.files} files {where}: {summary.files - summary.failed} predicted, {summary.failed}"
    " failed",
    file=sys.stderr,
  )
  for file, error in summary.failures:
    print(f"  {file}: {error}", file=sys.stderr)
  if summary.failed > len(summary.failures):
    print(f"  and {summary.failed - len(summary.failures)} more", file=sys.stderr)


if __name__ == "__main__":
  command_line.run(main)
