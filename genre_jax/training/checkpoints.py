"""Checkpoints: the best one and the last two, written and read with orbax.

The only importer of orbax. A checkpoint is a folder `checkpoints/STEP` with the state, the
validation figures, and a description (`about`): recipe, classes, task, network, normalization.
"""

import json
import math
import pathlib
import shutil
from typing import Any

import jax
import orbax.checkpoint.experimental.v1 as ocp

from genre_jax.errors import UserError
from genre_jax.old_names import modernize

# What a description holds at least (`session.describe`).
DESCRIBED = {
  "frontend",
  "classes",
  "task",
  "model",
  "normalization",
  "source",
  "dataset_id",
  "split",
}
DAMAGED = ".damaged"  # what a checkpoint that cannot be read is called after its step


def score(figures: dict[str, float] | None, metric: str) -> float:
  """The number by which checkpoints are ranked, larger being better.

  Args:
    figures: 'accuracy' (of several labels a clip 'pr_auc') and 'nll' of the valid tracks, None
      where there are none.
    metric: one of these (ties go to the lower nll), or 'last', to which all are equal.
  """
  if metric == "last":
    return 0.0
  if not figures or not math.isfinite(figures["nll"]):
    return float("-inf")
  return -figures["nll"] if metric == "nll" else figures[metric] - 1e-6 * figures["nll"]


def _unreadable(path: pathlib.Path) -> str:
  """Why a checkpoint's descriptions cannot be read, or ''; orbax would refuse the whole folder."""
  try:
    json.loads((path / "_CHECKPOINT_METADATA").read_text())
    if (path / "metrics").exists():
      json.loads((path / "metrics" / "metrics").read_text())
  except (OSError, ValueError) as error:
    return _first_line(error)
  return ""


def _whole(path: pathlib.Path) -> bool:
  """Whether a checkpoint can be read, whatever network it is of."""
  try:
    ocp.load(path)
    return True
  except Exception:
    return False


def _set_aside(path: pathlib.Path, reason: str) -> None:
  """Renames a damaged checkpoint, so that nothing reads it and nothing is lost."""
  print(
    f"checkpoint {path} cannot be read ({reason}); it is now {path.name}{DAMAGED} and the one"
    " before it is used"
  )
  shutil.rmtree(aside := path.with_name(path.name + DAMAGED), ignore_errors=True)
  path.rename(aside)


class Checkpointer:
  """The checkpoints of one run.

  Args:
    folder: where they are, created if absent.
    metric: what makes one the best: 'accuracy', 'pr_auc', 'nll' or 'last'.
    writing: by the run that trains; others change nothing there.
  """

  def __init__(self, folder: pathlib.Path, metric: str, *, writing: bool = True):
    self._folder = folder.absolute()
    self._metric = metric
    self._writing = writing
    self._failed = False
    for path in self._folder.glob("*") if writing else ():
      if path.name.isdigit() and (reason := _unreadable(path)):
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
            get_metric_fn=lambda figures: score(figures, self._metric),
            n=1,
            keep_checkpoints_without_metrics=False,
          ),
        ]
      ),
      cleanup_tmp_directories=self._writing,
    )

  def steps(self) -> list[int]:
    """Steps of the checkpoints that are there, ascending."""
    return [checkpoint.step for checkpoint in self._manager.checkpoints]

  def best_step(self) -> int | None:
    """Step of the best checkpoint, the last one where nothing was validated; None if none."""
    checkpoints = self._manager.checkpoints
    if not checkpoints:
      return None
    if self._metric == "last":
      return checkpoints[-1].step
    # Of equals the first, as a run that waits for a better one has it; without figures the last.
    return max(
      checkpoints, key=lambda c: (score(c.metrics, self._metric), -c.step if c.metrics else c.step)
    ).step

  def figures(self, step: int) -> dict[str, float] | None:
    """The validation figures that were saved with a checkpoint."""
    return next(c.metrics for c in self._manager.checkpoints if c.step == step)

  def save(self, state, figures: dict[str, float] | None, metadata: dict[str, Any]) -> None:
    """Saves the state under its own step, unless that step is there already."""
    step = int(state.step)
    if step in self.steps():
      return
    try:
      self._manager.save(step, state, metrics=figures, custom_metadata=metadata, force=True)
    except Exception as error:  # tensorstore raises ValueError where a disk is full
      self._failed = True
      raise OSError(f"checkpoint {step} was not written: {_first_line(error)}") from error

  def restore(self, template, step: int):
    """The state of a step, with the template's shapes, types and placement."""
    return self._manager.load(step, _abstract(template))

  def restore_newest(self, template):
    """The newest state that can be read, or None where there is no checkpoint.

    A damaged checkpoint is reported, set aside and the one before it is taken.

    Raises:
      UserError: if there are checkpoints and none can be read.
    """
    for step in reversed(self.steps()):
      try:
        return self.restore(template, step)
      except Exception as error:  # orbax and tensorstore raise many kinds for damaged files
        if _whole(self._folder / str(step)):
          raise UserError(
            f"the checkpoint {self._folder / str(step)} does not fit this network"
            f" ({_first_line(error)}); train in a new --workdir"
          ) from error
        _set_aside(self._folder / str(step), _first_line(error))
        self._manager.close()
        self._manager = self._open()
    if any(self._folder.glob("*" + DAMAGED)):
      raise UserError(
        f"no checkpoint in {self._folder} can be read; delete the folder to train anew"
      )
    return None

  def close(self) -> None:
    """Waits for writes under way."""
    if not self._failed:  # a write that failed fails again when it is waited for
      self._manager.close()


def locate(path: str, metric: str = "accuracy") -> pathlib.Path:
  """The checkpoint folder that a user's path means.

  Args:
    path: a run's folder (its best checkpoint is meant), its checkpoints folder, or one checkpoint.
    metric: how the best is chosen.
  Raises:
    UserError: if there is none.
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
          " with --checkpoint=DIR, or train on, which sets it aside"
        ) from error
      step = checkpoints.best_step()
      checkpoints.close()
      return candidate / str(step)
  raise UserError(f"{path}: no checkpoint here; give a run's folder or one of its checkpoints/STEP")


def metadata(folder: pathlib.Path) -> dict[str, Any]:
  """The description saved with the checkpoint in `folder`."""
  try:
    stored = ocp.metadata(folder.absolute()).custom_metadata
  except Exception as error:
    raise UserError(f"{folder} cannot be read as a checkpoint: {_first_line(error)}") from error
  stored = modernize(stored) if isinstance(stored, dict) else stored
  if not isinstance(stored, dict) or not DESCRIBED <= stored.keys():
    raise UserError(
      f"{folder} cannot be read as a checkpoint: its description is damaged; give"
      " another one with --checkpoint"
    )
  return stored


def load(folder: pathlib.Path, template=None):
  """The state in `folder`: a TrainState like the template, or nested dicts without one."""
  try:
    return ocp.load(folder.absolute(), _abstract(template))
  except Exception as error:
    raise UserError(f"{folder} cannot be read as a checkpoint: {_first_line(error)}") from error


def _metric_of(folder: pathlib.Path, default: str) -> str:
  """The metric by which the run that owns a checkpoints folder chose its best."""
  try:
    return json.loads((folder.parent / "config.json").read_text())["config"]["train"]["best_metric"]
  except (OSError, ValueError, KeyError, TypeError):
    return default


def _abstract(template):
  """Shapes, types and placement of a state, without its numbers."""
  return (
    None
    if template is None
    else jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), template
    )
  )


def _first_line(error: Exception) -> str:
  return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
