"""Training and evaluation of one config in one folder: `train_and_evaluate(config, workdir)`."""

import contextlib
import pathlib
import signal
import time

from tqdm import tqdm

from genre_jax.data.pipeline import train_batches
from genre_jax.errors import Interrupted, UserError
from genre_jax.evaluation.multi_label_metrics import choose_thresholds
from genre_jax.training import checkpoints, steps
from genre_jax.training.evaluate import predict_split, validation_metrics
from genre_jax.training.metric_writer import MetricWriter
from genre_jax.training.setup import Experiment
from genre_jax.training.step_trace import StepProfile


@contextlib.contextmanager
def _signals():
  """Yields a list that gets the number of a SIGINT or SIGTERM; a second one ends at once."""
  received: list[int] = []

  def note(number, _):
    if received:
      raise KeyboardInterrupt
    received.append(number)

  try:
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
  except ValueError:  # not the main thread: signals are the caller's concern
    before = {}
  try:
    yield received
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def train(experiment: Experiment, folder: pathlib.Path, mesh) -> None:
  """Trains to the last epoch, from the newest checkpoint if there is one."""
  config = experiment.config
  if not experiment.total_steps:
    raise UserError(
      f"split {experiment.assignment.name} leaves no clip to train on; --mode=eval evaluates"
      " a network that was trained elsewhere"
    )
  checkpointer = checkpoints.Checkpointer(folder / "checkpoints", config.train.best_metric)
  metric_writer = None
  try:
    new = steps.replicate(experiment.new_state(), mesh)
    state = checkpointer.restore_newest(new)
    if state is None:
      state = steps.replicate(experiment.with_trained_weights(new), mesh)
    step = int(state.step)
    print(
      f"model     {config.model.name}, {experiment.parameters():,} parameters; "
      f"{experiment.total_steps} steps of {config.train.batch_size} windows"
      + (f"; going on at step {step}" if step else "")
    )
    best = checkpointer.best_step()
    waited = _evaluations_since(checkpointer, best, experiment)
    if step >= experiment.total_steps or _patience_ended(config, waited):
      print("training  was finished before")
      return
    batches, _ = train_batches(
      experiment.prepared,
      experiment.assignment,
      batch_size=config.train.batch_size,
      per_track=config.segments.train_per_track,
      random=config.segments.train == "random",
      seed=config.seed,
      shuffle_buffer=config.train.shuffle_buffer,
      start_step=step,
    )
    metric_writer = MetricWriter(folder, step)
    _run(experiment, folder, state, step, batches, checkpointer, metric_writer, mesh, waited)
  finally:
    checkpointer.close()
    if metric_writer:
      metric_writer.close()


def _evaluations_since(checkpointer, best: int | None, experiment: Experiment) -> int:
  """Evaluations that were made after the best one."""
  interval = experiment.steps_per_epoch * experiment.config.train.eval_every_epochs
  return (checkpointer.steps()[-1] - best) // interval if best is not None else 0


def _patience_ended(config, waited: int) -> bool:
  return 0 < config.train.patience <= waited


def _run(
  experiment, folder, state, step, batches, checkpointer, metric_writer, mesh, waited
) -> None:
  """The loop over steps."""
  config, total = experiment.config, experiment.total_steps
  train_step = steps.make_train_step(
    experiment.model, experiment.tx, config, experiment.positive_weight()
  )
  eval_step = steps.make_eval_step(experiment.model)
  interval = experiment.steps_per_epoch * config.train.eval_every_epochs
  best = max(
    (
      checkpoints.score(checkpointer.figures(s), config.train.best_metric)
      for s in checkpointer.steps()
    ),
    default=float("-inf"),
  )
  profile = StepProfile(folder / "profile" if config.profile else None)
  losses, accuracies, began = [], [], time.monotonic()
  bar = tqdm(total=total, initial=step, desc="training", unit="step", disable=None)

  def following():
    with profile.part("wait for batch"):
      batch = next(batches)
    with profile.part("to device"):
      return steps.shard_batch(batch, mesh)

  with _signals() as received, bar, contextlib.closing(batches), profile:
    batch = following()
    while True:
      with profile.step(step + 1):
        state, figures = train_step(state, batch)
        batch = following()  # while the device computes
        loss = float(figures["loss"])
      if loss != loss:  # not a number
        checkpointer.save(state, None, experiment.metadata())
        raise UserError(
          f"the loss is not finite at step {step + 1}; the state before it is in"
          f" checkpoints/{step}. Lower --config.optimizer.learning_rate, or set"
          " --config.optimizer.clip_norm=1, in a new --workdir"
        )
      step += 1
      losses.append(loss)
      accuracies.append(float(figures["accuracy"]))
      bar.update()
      if step % 10 == 0:
        bar.set_postfix_str(
          f"loss {loss:.3f}, accuracy {accuracies[-1]:.2f}, "
          f"{_rate(bar) * config.train.batch_size:.0f} windows/s",
          refresh=False,
        )
      if step % interval == 0 or step == total:
        epoch = step // experiment.steps_per_epoch
        rate = len(losses) * config.train.batch_size / (time.monotonic() - began)
        record = {
          "train_loss": sum(losses) / len(losses),
          "train_accuracy": sum(accuracies) / len(accuracies),
          "train_examples_per_second": rate,
        }
        valid, metadata = _validate(experiment, eval_step, state, mesh)
        record |= {f"validation_{name}": value for name, value in (valid or {}).items()}
        metric_writer.write(step, epoch, **record)
        checkpointer.save(state, valid, metadata)
        new = checkpoints.score(valid, config.train.best_metric)
        if valid:  # without a valid side nothing can be waited for
          best, waited = (new, 0) if new > best else (best, waited + 1)
        bar.write(
          f"epoch {epoch:4d}  "
          + "  ".join(
            f"{name.replace('_', ' ')} {value:.3f}"
            for name, value in record.items()
            if name != "train_examples_per_second"
          )
          + f"  {rate:.0f} windows/s"
        )
        losses, accuracies, began = [], [], time.monotonic()
      if received:
        checkpointer.save(state, None, experiment.metadata())
        raise Interrupted(received[0])
      if _patience_ended(config, waited):
        bar.write(f"stopped   no better evaluation in {waited}")
        return
      if step == total:
        return


def _rate(bar: tqdm) -> float:
  """Steps a second, as the bar has smoothed them."""
  return bar.format_dict["rate"] or 0.0


def _validate(experiment: Experiment, eval_step, state, mesh):
  """Figures of the valid tracks, None where there are none, and what the checkpoint says of itself,
  thresholds chosen there among it."""
  config = experiment.config
  predictions = predict_split(
    eval_step,
    state.variables(),
    experiment.prepared,
    experiment.assignment,
    "validation",
    mesh,
    batch_size=config.train.batch_size,
    per_track=config.segments.eval_per_track,
  )
  tracks = predictions.by_track()
  figures, metadata = validation_metrics(tracks), experiment.metadata()
  if figures and tracks.known is not None:
    metadata["thresholds"] = choose_thresholds(tracks)
  return figures, metadata
