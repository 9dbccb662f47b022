"""Write and read checkpoints with orbax, and keep the best one and the last two.

No other module imports orbax. A checkpoint is a folder `checkpoints/STEP` with the state, the
validation metrics, and metadata: front end, classes, task, network, normalization.
"""

import functools
import json
import logging
import math
import pathlib
import shutil
import sys
from typing import Any

import jax
import orbax.checkpoint.experimental.v1 as ocp

from genre_jax.errors import UserError
from genre_jax.old_names import modernize
from genre_jax.training import processes

# Keys that the metadata of a checkpoint must have (`setup.checkpoint_metadata` makes them).
REQUIRED_METADATA = {
  "frontend",
  "classes",
  "task",
  "model",
  "normalization",
  "source",
  "dataset_id",
  "split",
}
DAMAGED = ".damaged"  # suffix of a checkpoint that cannot be read


def score(metrics: dict[str, float] | None, metric: str) -> float:
  """Return the number by which checkpoints are ranked; larger is better.

  Args:
    metrics: 'accuracy' (multi_label: 'pr_auc') and 'nll' of the validation tracks; None if there
      are no validation tracks.
    metric: Name of one of these (ties go to the lower nll), or 'last', for which all are equal.

  Returns:
    The score; minus infinity without metrics or with a nll that is not finite.
  """
  if metric == "last":
    return 0.0
  if not metrics or not math.isfinite(metrics["nll"]):
    return float("-inf")
  return -metrics["nll"] if metric == "nll" else metrics[metric] - 1e-6 * metrics["nll"]


def _damage(path: pathlib.Path) -> str:
  """Return the reason why a checkpoint's JSON files cannot be read, or ''.

  Orbax would refuse the whole folder because of one such file.
  """
  try:
    json.loads((path / "_CHECKPOINT_METADATA").read_text())
    if (path / "metrics").exists():
      json.loads((path / "metrics" / "metrics").read_text())
  except (OSError, ValueError) as error:
    return _first_line(error)
  return ""


def _is_readable(path: pathlib.Path) -> bool:
  """Return True if a checkpoint of any network can be read."""
  try:
    ocp.load(path)
    return True
  except Exception:
    return False


def _set_aside(path: pathlib.Path, reason: str) -> None:
  """Rename a damaged checkpoint, so that it is not read and not lost."""
  print(
    f"checkpoint {path} cannot be read ({reason}); it is renamed to {path.name}{DAMAGED}, and the"
    " one before it is used"
  )
  shutil.rmtree(aside := path.with_name(path.name + DAMAGED), ignore_errors=True)
  path.rename(aside)


class Checkpointer:
  """The checkpoints of one run.

  Args:
    folder: Folder of the checkpoints, created if absent.
    metric: Metric of the best one: 'accuracy', 'pr_auc', 'nll' or 'last'.
    writing: True for the run that trains; False changes nothing in the folder.
  """

  def __init__(self, folder: pathlib.Path, metric: str, *, writing: bool = True):
    self._folder = folder.absolute()
    self._metric = metric
    self._writing = writing
    self._failed = False
    with processes.together():
      for path in self._folder.glob("*") if writing and processes.is_first() else ():
        if path.name.isdigit() and (reason := _damage(path)):
          _set_aside(path, reason)
    self._manager = self._open()

  def _open(self):
    policies = ocp.training.preservation_policies
    return ocp.training.Checkpointer(
      self._folder,
      save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
      preservation_policy=policies.AnyPreservationPolicy(
        [
          policies.LatestN(2),
          policies.BestN(
            get_metric_fn=lambda metrics: score(metrics, self._metric),
            n=1,
            keep_checkpoints_without_metrics=False,
          ),
        ]
      ),
      cleanup_tmp_directories=self._writing,
    )

  def steps(self) -> list[int]:
    """Return the steps of the existing checkpoints, ascending."""
    return [checkpoint.step for checkpoint in self._manager.checkpoints]

  def best_step(self) -> int | None:
    """Return the step of the best checkpoint, or None if there is no checkpoint.

    Without validation metrics the last one is the best.
    """
    checkpoints = self._manager.checkpoints
    if not checkpoints:
      return None
    if self._metric == "last":
      return checkpoints[-1].step
    # Of equal ones the first, in agreement with early stopping; without metrics the last.
    return max(
      checkpoints, key=lambda c: (score(c.metrics, self._metric), -c.step if c.metrics else c.step)
    ).step

  def metrics(self, step: int) -> dict[str, float] | None:
    """Return the validation metrics that were saved with a checkpoint."""
    return next(c.metrics for c in self._manager.checkpoints if c.step == step)

  def save(self, state, metrics: dict[str, float] | None, metadata: dict[str, Any]) -> None:
    """Save the state under its step, unless that checkpoint exists.

    Args:
      state: The training state.
      metrics: Validation metrics, None without validation.
      metadata: Description of the network, with the keys REQUIRED_METADATA.

    Raises:
      OSError: If the checkpoint cannot be written.
    """
    step = int(state.step)
    if step in self.steps():
      return
    try:
      self._manager.save(step, state, metrics=metrics, custom_metadata=metadata, force=True)
    except Exception as error:  # tensorstore raises ValueError if the disk is full
      self._failed = True
      if processes.is_lost(error):
        raise
      if jax.process_count() > 1:  # the others wait in the middle of their part of the save
        processes.leave(f"checkpoint {step} was not written: {_first_line(error)}", status=2)
      raise OSError(f"checkpoint {step} was not written: {_first_line(error)}") from error

  def restore(self, template, step: int):
    """Read the state of a step, with the shapes, dtypes and placement of a template."""
    _report_errors_once()
    return self._manager.load(step, _abstract(template))

  def restore_newest(self, template):
    """Read the newest state that can be read.

    It reports a damaged checkpoint, renames it and takes the one before it.

    Args:
      template: A state with the shapes, dtypes and placement to restore.

    Returns:
      The state, or None if there is no checkpoint.

    Raises:
      UserError: If there are checkpoints and none can be read, or one is of another network.
    """
    for step in reversed(self.steps()):
      state, reason = None, ""
      try:
        state = self.restore(template, step)
      except Exception as error:  # orbax and tensorstore raise many types for damaged files
        reason = _first_line(error)
      reason = next(filter(None, processes.gather(reason)), "")
      if not reason:
        return state
      path = self._folder / str(step)
      if all(processes.gather(_is_readable(path))):
        raise UserError(
          f"the checkpoint {path} does not fit this network ({reason}); train in a new --workdir"
        )
      with processes.together():
        if processes.is_first():
          _set_aside(path, reason)
      self._manager.close()
      self._manager = self._open()
    if any(self._folder.glob("*" + DAMAGED)):
      raise UserError(
        f"no checkpoint in {self._folder} can be read; delete the folder to train from the start"
      )
    return None

  def close(self) -> None:
    """Wait until all checkpoints are written."""
    if not self._failed:  # waiting for a write that failed raises its error again
      self._manager.close()


def locate(path: str, metric: str = "accuracy") -> pathlib.Path:
  """Return the checkpoint folder to which a user's path refers.

  Args:
    path: One checkpoint, or a run's folder or its checkpoints folder for the best checkpoint.
    metric: Metric of the best one, if the run's config.json does not name it.

  Raises:
    UserError: If there is no checkpoint or one is damaged.
  """
  folder = pathlib.Path(path)
  if (folder / "_CHECKPOINT_METADATA").exists():
    return folder
  for candidate in (folder / "checkpoints", folder):
    if candidate.is_dir() and any(child.name.isdigit() for child in candidate.iterdir()):
      try:
        checkpoints = Checkpointer(candidate, _metric_of(candidate, metric), writing=False)
      except Exception as error:
        raise UserError(
          f"{candidate} has a damaged checkpoint ({_first_line(error)}); give another"
          " with --checkpoint=DIR, or resume the training, which renames it"
        ) from error
      step = checkpoints.best_step()
      checkpoints.close()
      return candidate / str(step)
  raise UserError(f"{path}: no checkpoint here; give a run's folder or one of its checkpoints/STEP")


def metadata(folder: pathlib.Path) -> dict[str, Any]:
  """Read the metadata saved with the checkpoint in `folder`.

  Raises:
    UserError: If it cannot be read or a key is missing.
  """
  try:
    stored = ocp.metadata(folder.absolute()).custom_metadata
  except Exception as error:
    raise UserError(f"{folder} cannot be read as a checkpoint: {_first_line(error)}") from error
  stored = modernize(stored) if isinstance(stored, dict) else stored
  if not isinstance(stored, dict) or not REQUIRED_METADATA <= stored.keys():
    raise UserError(
      f"{folder} cannot be read as a checkpoint: its metadata is damaged; give another one with"
      " --checkpoint"
    )
  return stored


def load(folder: pathlib.Path, template=None):
  """Read the state in `folder`.

  Args:
    folder: The checkpoint.
    template: A TrainState with the shapes, dtypes and placement to restore, or None.

  Returns:
    A TrainState like the template; nested dicts without a template.

  Raises:
    UserError: If it cannot be read.
  """
  _report_errors_once()
  try:
    return ocp.load(folder.absolute(), _abstract(template))
  except Exception as error:
    raise UserError(f"{folder} cannot be read as a checkpoint: {_first_line(error)}") from error


@functools.cache
def _report_errors_once() -> None:
  """Keep Python from printing the errors of the tasks that orbax leaves after the first error."""
  logging.getLogger("asyncio").setLevel(logging.CRITICAL)
  before = sys.unraisablehook

  def hook(unraisable, /):
    if str(unraisable.exc_value) != "Event loop is closed":
      before(unraisable)

  sys.unraisablehook = hook


def _metric_of(folder: pathlib.Path, default: str) -> str:
  """Return `train.best_metric` of the run to which a checkpoints folder belongs."""
  try:
    return json.loads((folder.parent / "config.json").read_text())["config"]["train"]["best_metric"]
  except (OSError, ValueError, KeyError, TypeError):
    return default


def _abstract(template):
  """Return the shapes, dtypes and placement of a state without its values."""
  if template is None:
    return None
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), template
  )


def _first_line(error: Exception) -> str:
  return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
