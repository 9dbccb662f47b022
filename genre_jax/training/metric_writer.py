"""Write metrics.jsonl and TensorBoard events of a run."""

import json
import pathlib

from genre_jax.files import write_whole


class MetricWriter:
  """metrics.jsonl and TensorBoard events of a run.

  Args:
    workdir: the run's folder.
    start_step: a resumed run's step; what was written of later steps is dropped, since those steps
      are made again.
  """

  def __init__(self, workdir: pathlib.Path, start_step: int):
    import tensorflow as tf  # here: only training writes curves

    self._summary = tf.summary
    path = workdir / "metrics.jsonl"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    kept = [line for line in lines if _step_of(line) <= start_step]
    write_whole(path, "".join(line + "\n" for line in kept))
    self._file = open(path, "a")
    self._events = tf.summary.create_file_writer(str(workdir))

  def write(self, step: int, epoch: int, **figures: float) -> None:
    """One line and one event for each figure; names are as 'train/loss'."""
    named = {name.replace("_", "/", 1): value for name, value in figures.items()}
    self._file.write(json.dumps({"step": step, "epoch": epoch, **named}) + "\n")
    self._file.flush()
    with self._events.as_default(step=step):
      for name, value in named.items():
        self._summary.scalar(name, value)
    self._events.flush()

  def close(self) -> None:
    """Closes both files."""
    self._file.close()
    self._events.close()


def _step_of(line: str) -> float:
  """The step of a line of metrics.jsonl; infinite for a line that is damaged."""
  try:
    return int(json.loads(line)["step"])
  except (ValueError, KeyError, TypeError):
    return float("inf")
