"""Write the metrics of a run during training, to metrics.jsonl and as TensorBoard events."""

import json
import pathlib

from genre_jax.files import write_whole


class MetricWriter:
  """Writer of metrics.jsonl and of TensorBoard events.

  Args:
    workdir: The run's folder.
    start_step: Step at which training starts or resumes. Lines of later steps are dropped, because
      these steps are made again.
  """

  def __init__(self, workdir: pathlib.Path, start_step: int):
    import tensorflow as tf  # imported here because only training needs it

    self._summary = tf.summary
    path = workdir / "metrics.jsonl"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    kept = [line for line in lines if _step_of(line) <= start_step]
    write_whole(path, "".join(line + "\n" for line in kept))
    self._file = open(path, "a")
    self._events = tf.summary.create_file_writer(str(workdir))

  def write(self, step: int, epoch: int, metrics: dict[str, float]) -> None:
    """Write one line with all metrics and one event per metric.

    Args:
      step: Updates made.
      epoch: Epochs made.
      metrics: Values by name, such as 'train/loss'.
    """
    self._file.write(json.dumps({"step": step, "epoch": epoch, **metrics}) + "\n")
    self._file.flush()
    with self._events.as_default(step=step):
      for name, value in metrics.items():
        self._summary.scalar(name, value)
    self._events.flush()

  def close(self) -> None:
    """Close both files."""
    self._file.close()
    self._events.close()


def _step_of(line: str) -> float:
  """Return the step of a line of metrics.jsonl; infinity if the line is damaged."""
  try:
    return int(json.loads(line)["step"])
  except (ValueError, KeyError, TypeError):
    return float("inf")
