"""Write the partitions of a finished job as one file, in the formats of `predict --out`."""

import contextlib
import os
import pathlib

from genre_jax.data.names import printable_path
from genre_jax.distributed import manifest as manifests
from genre_jax.distributed import partitions
from genre_jax.distributed.job import Summary
from genre_jax.errors import UserError
from genre_jax.files import move_into_place
from genre_jax.inference import parquet_writer
from genre_jax.inference.lines_writer import LinesWriter
from genre_jax.inference.output_file import disk_errors
from genre_jax.inference.output_lock import OutputLock
from genre_jax.inference.prediction_rows import columns

FORMATS = ("csv", "jsonl", "parquet")


def merge(directory: pathlib.Path, out: pathlib.Path, *, num_failures: int) -> Summary:
  """Write the predictions of a finished job, sorted by file; the file appears complete.

  Args:
    directory: Folder of the job.
    out: File to write; the end of its name, .csv, .jsonl or .parquet, is the format.
    num_failures: Largest number of failures to return.

  Raises:
    UserError: If partitions are missing or damaged, `out` exists or cannot be written, or its name
      has another end.
  """
  kind = out.suffix.removeprefix(".").lower()
  if kind not in FORMATS:
    raise UserError(f"--out={out}: end the name in .csv, .jsonl or .parquet")
  _check_absent(out)
  manifest = manifests.read_manifest(directory)
  done = partitions.finished(directory)
  missing = [number for number in range(manifest.num_partitions) if number not in done]
  if missing:
    raise UserError(
      f"{directory}: {len(missing)} of {manifest.num_partitions} partitions are missing, as number"
      f" {missing[0]}: repeat `genre-jax job predict` first"
    )
  temporary = out.with_name(f".{out.name}.tmp")
  timeline = manifest.settings.timeline
  names = columns(manifest.settings.classes, timeline)
  failed, failures = 0, []
  with disk_errors(out), OutputLock(out.resolve()):
    _check_absent(out)  # another command may have written it meanwhile
    temporary.unlink(missing_ok=True)
    try:
      with contextlib.closing(
        parquet_writer.prediction_writer(temporary, names, timeline)
        if kind == "parquet"
        else LinesWriter(temporary, kind, names, timeline)
      ) as writer:
        for number in range(manifest.num_partitions):
          for prediction in partitions.read_predictions(directory, manifest, number):
            writer.write(prediction)
            if prediction.status == "failed":
              failed += 1
              failures += [(prediction.file, prediction.error)] * (failed <= num_failures)
      move_into_place(temporary, out)
    finally:
      for path in (temporary, temporary.with_name(f"{temporary.name}.partial.jsonl")):
        path.unlink(missing_ok=True)
  return Summary(len(manifest.files), len(done), len(done), failed, failures)


def _check_absent(out: pathlib.Path) -> None:
  if os.path.lexists(out):
    raise UserError(f"--out={printable_path(str(out))} exists: give another file")
