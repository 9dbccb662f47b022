"""Train a network to the last epoch, with validation, checkpoints and early stopping.

`studies/run.py` calls `train` and then evaluates the checkpoint.
"""

import contextlib
import math
import pathlib
import signal
import time
from typing import Any

import numpy as np
from tqdm import tqdm

from genre_jax.data.pipeline import train_batches
from genre_jax.errors import Interrupted, UserError
from genre_jax.evaluation.multi_label_metrics import choose_thresholds
from genre_jax.training import checkpoints, processes, steps
from genre_jax.training.evaluate import predict_split, split_batches, validation_metrics
from genre_jax.training.metric_writer import MetricWriter
from genre_jax.training.setup import Experiment
from genre_jax.training.step_trace import StepTracer


@contextlib.contextmanager
def _signals():
  """Yield a list that gets the number of a SIGINT or SIGTERM; a second signal ends at once."""
  received: list[int] = []

  def record(number, _):
    if received:
      raise KeyboardInterrupt
    received.append(number)

  try:
    before = {number: signal.signal(number, record) for number in (signal.SIGINT, signal.SIGTERM)}
  except ValueError:  # not in the main thread, where the caller handles signals
    before = {}
  try:
    yield received
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def train(experiment: Experiment, folder: pathlib.Path, mesh) -> None:
  """Train to the last epoch, from the newest checkpoint if there is one.

  Args:
    experiment: Data, network and optimizer.
    folder: The run's folder.
    mesh: The devices.

  Raises:
    UserError: If the train split is empty, or the loss is not finite.
    Interrupted: If a signal ended the training; a checkpoint was saved.
  """
  config = experiment.config
  if not experiment.total_steps:
    raise UserError(
      f"split {experiment.assignment.name} leaves no track to train on; --mode=eval evaluates"
      " a trained network"
    )
  checkpointer = checkpoints.Checkpointer(folder / "checkpoints", config.train.best_metric)
  try:
    with processes.watch() as step_ended:
      _train(experiment, folder, mesh, checkpointer, step_ended)
  finally:
    checkpointer.close()


def _train(experiment, folder, mesh, checkpointer, step_ended) -> None:
  """Resume from the newest checkpoint and train."""
  config, new = experiment.config, experiment.new_state()
  state = checkpointer.restore_newest(steps.replicate(new, mesh))
  if state is None:
    with processes.together():
      new = experiment.with_trained_weights(new)
    state = steps.replicate(new, mesh)
  step = int(state.step)
  print(
    f"model     {config.model.name}, {experiment.parameters():,} parameters; "
    f"{experiment.total_steps} steps of {config.train.batch_size} segments"
    + (f"; resuming at step {step}" if step else "")
  )
  best = checkpointer.best_step()
  waited = _evaluations_since(checkpointer, best, experiment)
  if step >= experiment.total_steps or _patience_ended(config, waited):
    print("training  already finished")
    return
  batches, _ = train_batches(
    experiment.prepared,
    experiment.assignment,
    batch_size=config.train.batch_size,
    per_track=config.segments.train_per_track,
    random=config.segments.train == "random",
    seed=config.seed,
    start_step=step,
    part=processes.part(),
  )
  with contextlib.ExitStack() as stack:
    metric_writer = None
    with processes.together():
      if processes.is_first():
        metric_writer = stack.enter_context(contextlib.closing(MetricWriter(folder, step)))
    _run(
      experiment,
      folder,
      state,
      step,
      batches,
      checkpointer,
      metric_writer,
      mesh,
      waited,
      step_ended,
    )


def _evaluations_since(checkpointer, best: int | None, experiment: Experiment) -> int:
  """Return the number of evaluations made after the best one."""
  interval = experiment.steps_per_epoch * experiment.config.train.eval_every_epochs
  return (checkpointer.steps()[-1] - best) // interval if best is not None else 0


def _patience_ended(config, waited: int) -> bool:
  return 0 < config.train.patience <= waited


def _run(
  experiment,
  folder,
  state,
  step,
  batches,
  checkpointer,
  metric_writer,
  mesh,
  waited,
  step_ended,
) -> None:
  """Run the loop over steps."""
  config, total = experiment.config, experiment.total_steps
  train_step = steps.make_train_step(
    experiment.model, experiment.tx, config, experiment.positive_weight()
  )
  eval_step = steps.make_eval_step(experiment.model)
  validation_batches = split_batches(experiment, "validation", mesh)
  interval = experiment.steps_per_epoch * config.train.eval_every_epochs
  best = max(
    (
      checkpoints.score(checkpointer.metrics(s), config.train.best_metric)
      for s in checkpointer.steps()
    ),
    default=float("-inf"),
  )
  tracer = StepTracer(folder / "profile" if config.profile and processes.is_first() else None)
  losses, accuracies, began = [], [], time.monotonic()
  bar = tqdm(
    total=total,
    initial=step,
    desc="training",
    unit="step",
    disable=None if processes.is_first() else True,
  )

  def next_batch():
    with tracer.part("wait for batch"):
      batch = next(batches)
    # A signal to one process travels with the batch, so that all stop after the same step.
    stop = np.full(len(batch["mask"]), received[0] if received else 0, np.int32)
    with tracer.part("to device"):
      return steps.shard_batch({**batch, "stop": stop}, mesh)

  with _signals() as received, bar, contextlib.closing(batches), tracer:
    batch = next_batch()
    while True:
      with tracer.step(step + 1):
        state, step_metrics = train_step(state, batch)
        batch = next_batch()  # while the device computes
        loss = float(step_metrics["loss"])
      step_ended()
      if math.isnan(loss):
        checkpointer.save(state, None, experiment.metadata())
        raise UserError(
          f"the loss is not finite at step {step + 1}; checkpoints/{step} has the state before it."
          " Lower --config.optimizer.learning_rate, or set --config.optimizer.clip_norm=1, in a"
          " new --workdir"
        )
      step += 1
      losses.append(loss)
      accuracies.append(float(step_metrics["accuracy"]))
      bar.update()
      if step % 10 == 0:
        bar.set_postfix_str(
          f"loss {loss:.3f}, accuracy {accuracies[-1]:.2f}, "
          f"{_rate(bar) * config.train.batch_size:.0f} segments/s",
          refresh=False,
        )
      if step % interval == 0 or step == total:
        epoch = step // experiment.steps_per_epoch
        rate = len(losses) * config.train.batch_size / (time.monotonic() - began)
        record = {
          "train/loss": sum(losses) / len(losses),
          "train/accuracy": sum(accuracies) / len(accuracies),
          "train/examples_per_second": rate,
        }
        step_ended(False)
        validation, metadata = _validate(experiment, eval_step, state, validation_batches, mesh)
        record |= {f"validation/{name}": value for name, value in (validation or {}).items()}
        with processes.together():
          if metric_writer:
            metric_writer.write(step, epoch, record)
          checkpointer.save(state, validation, metadata)
        step_ended()
        score = checkpoints.score(validation, config.train.best_metric)
        if validation:  # without validation tracks there is no early stopping
          best, waited = (score, 0) if score > best else (best, waited + 1)
        bar.write(
          f"epoch {epoch:4d}  "
          + "  ".join(
            f"{name.replace('/', ' ').replace('_', ' ')} {value:.3f}"
            for name, value in record.items()
            if name != "train/examples_per_second"
          )
          + f"  {rate:.0f} segments/s"
        )
        losses, accuracies, began = [], [], time.monotonic()
      if signal_number := int(step_metrics["stop"]):
        checkpointer.save(state, None, experiment.metadata())
        raise Interrupted(signal_number)
      if _patience_ended(config, waited):
        bar.write(f"stopped   no better evaluation among the last {waited}")
        return
      if step == total:
        return


def _rate(bar: tqdm) -> float:
  """Return the smoothed number of steps per second of a progress bar."""
  return bar.format_dict["rate"] or 0.0


def _validate(
  experiment: Experiment, eval_step, state, batches, mesh
) -> tuple[dict[str, float] | None, dict[str, Any]]:
  """Evaluate the validation split.

  Returns:
    The metrics, None if there are no validation tracks; and the metadata of the checkpoint, for
    multi_label with the thresholds chosen on the validation split.
  """
  predictions = predict_split(eval_step, state.variables(), batches, experiment, "validation", mesh)
  tracks = predictions.by_track()
  metrics, metadata = validation_metrics(tracks), experiment.metadata()
  if metrics and tracks.known is not None:
    metadata["thresholds"] = choose_thresholds(tracks)
  return metrics, metadata
