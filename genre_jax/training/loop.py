"""Training and evaluation of one config in one folder: `train_and_evaluate(config, workdir)`."""

import contextlib
import pathlib
import signal
import time

import ml_collections
from tqdm import tqdm

from genre_jax.data.pipeline import train_batches
from genre_jax.errors import Interrupted, UserError
from genre_jax.training import checkpoints, records, steps
from genre_jax.training.evaluation import predict_side, validation_figures, write_evaluation
from genre_jax.training.multi_label_metrics import as_text, choose_thresholds
from genre_jax.training.profile import StepProfile
from genre_jax.training.report import write_report
from genre_jax.training.session import Session, open_session


def train_and_evaluate(
  config: ml_collections.ConfigDict,
  workdir: str,
  *,
  mode: str = "train_and_eval",
  checkpoint: str = "best",
) -> dict[str, dict]:
  """Trains, evaluates, or both.

  Args:
    config: the experiment, resolved.
    workdir: folder of config.json, metrics.jsonl, checkpoints/ and eval/.
    mode: 'train_and_eval', 'train' or 'eval'.
    checkpoint: which one is evaluated: 'best', 'last', or a folder.
  Returns:
    The content of eval/valid.json and eval/test.json by side; empty in mode 'train'.
  Raises:
    UserError: for whatever the user can mend.
    Interrupted: when a signal ended training; the same command goes on.
  """
  folder = pathlib.Path(workdir)
  if mode != "eval" and checkpoint not in ("best", "last"):
    raise UserError(f"--checkpoint={checkpoint} goes with --mode=eval")
  if mode == "eval" and checkpoint in ("best", "last"):
    checkpoints.locate(workdir)  # no trained network: say so before hours of preparing
  session = open_session(config)
  mesh = steps.device_mesh()
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with records.sole_use(folder):
      records.claim_workdir(folder, config, session.prepared.path.name)
      if mode != "eval":
        train(session, folder, mesh)
      return {} if mode == "train" else evaluate(session, folder, mesh, checkpoint)
  except OSError as error:
    raise UserError(
      f"cannot write to {folder}: {error.strerror or error}; free space there or name"
      " another folder with --workdir (checkpoints that were written are kept)"
    ) from error


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


def train(session: Session, folder: pathlib.Path, mesh) -> None:
  """Trains to the last epoch, from the newest checkpoint if there is one."""
  config = session.config
  if not session.total_steps:
    raise UserError(
      f"split {session.split.name} leaves no clip to train on; --mode=eval evaluates"
      " a network that was trained elsewhere"
    )
  keeper = checkpoints.Checkpoints(folder / "checkpoints", config.train.best_metric)
  curves = None
  try:
    new = steps.replicate(session.new_state(), mesh)
    state = keeper.restore_newest(new)
    if state is None:
      state = steps.replicate(session.with_trained_weights(new), mesh)
    step = int(state.step)
    print(
      f"model     {config.model.name}, {session.parameters():,} parameters; "
      f"{session.total_steps} steps of {config.train.batch_size} windows"
      + (f"; going on at step {step}" if step else "")
    )
    best = keeper.best_step()
    waited = _evaluations_since(keeper, best, session)
    if step >= session.total_steps or _patience_ended(config, waited):
      print("training  was finished before")
      return
    batches, _ = train_batches(
      session.prepared,
      session.split,
      batch_size=config.train.batch_size,
      per_track=config.segments.train_per_track,
      random=config.segments.train == "random",
      seed=config.seed,
      shuffle_buffer=config.train.shuffle_buffer,
      start_step=step,
    )
    curves = records.Curves(folder, step)
    _run(session, folder, state, step, batches, keeper, curves, mesh, waited)
  finally:
    keeper.close()
    if curves:
      curves.close()


def _evaluations_since(keeper, best: int | None, session: Session) -> int:
  """Evaluations that were made after the best one."""
  interval = session.steps_per_epoch * session.config.train.eval_every_epochs
  return (keeper.steps()[-1] - best) // interval if best is not None else 0


def _patience_ended(config, waited: int) -> bool:
  return 0 < config.train.patience <= waited


def _run(session, folder, state, step, batches, keeper, curves, mesh, waited) -> None:
  """The loop over steps."""
  config, total = session.config, session.total_steps
  train_step = steps.make_train_step(session.model, session.tx, config, session.positive_weight())
  eval_step = steps.make_eval_step(session.model)
  interval = session.steps_per_epoch * config.train.eval_every_epochs
  best = max(
    (checkpoints.score(keeper.figures(s), config.train.best_metric) for s in keeper.steps()),
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
        keeper.save(state, None, session.about())
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
        epoch = step // session.steps_per_epoch
        rate = len(losses) * config.train.batch_size / (time.monotonic() - began)
        record = {
          "train_loss": sum(losses) / len(losses),
          "train_accuracy": sum(accuracies) / len(accuracies),
          "train_examples_per_second": rate,
        }
        valid, about = _validate(session, eval_step, state, mesh)
        record |= {f"valid_{name}": value for name, value in (valid or {}).items()}
        curves.write(step, epoch, **record)
        keeper.save(state, valid, about)
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
        keeper.save(state, None, session.about())
        raise Interrupted(received[0])
      if _patience_ended(config, waited):
        bar.write(f"stopped   no better evaluation in {waited}")
        return
      if step == total:
        return


def _rate(bar: tqdm) -> float:
  """Steps a second, as the bar has smoothed them."""
  return bar.format_dict["rate"] or 0.0


def _validate(session: Session, eval_step, state, mesh):
  """Figures of the valid tracks, None where there are none, and what the checkpoint says of itself,
  thresholds chosen there among it."""
  config = session.config
  predictions = predict_side(
    eval_step,
    state.variables(),
    session.prepared,
    session.split,
    "valid",
    mesh,
    batch_size=config.train.batch_size,
    per_track=config.segments.eval_per_track,
  )
  tracks = predictions.by_track()
  figures, about = validation_figures(tracks), session.about()
  if figures and tracks.known is not None:
    about["thresholds"] = choose_thresholds(tracks)
  return figures, about


def evaluate(session: Session, folder: pathlib.Path, mesh, checkpoint: str) -> dict[str, dict]:
  """Evaluates a checkpoint on the valid and the test side, and writes eval/."""
  config = session.config
  path = _checkpoint_folder(folder, checkpoint, config.train.best_metric)
  stored, mine = checkpoints.about(path), session.about()
  for name in ("recipe", "classes", "task", "model", "normalisation"):
    if stored[name] != mine[name]:
      raise UserError(f"the checkpoint {path} has {name} {stored[name]}, this config {mine[name]}")
  if stored["material"] == mine["material"] and stored["split"] != mine["split"]:
    raise UserError(
      f"the checkpoint {path} was trained on another split of these clips"
      f" ({stored['split']}): some that would be asked now are known to it"
    )
  state = checkpoints.load(path, steps.replicate(session.new_state(), mesh))
  eval_step = steps.make_eval_step(session.model)
  answers = {
    side: predict_side(
      eval_step,
      state.variables(),
      session.prepared,
      session.split,
      side,
      mesh,
      batch_size=config.train.batch_size,
      per_track=config.segments.eval_per_track,
    )
    for side in ("valid", "test")
  }
  thresholds = None
  if config.task == "multi_label":  # a checkpoint of an interrupted run has none
    thresholds = stored.get("thresholds") or choose_thresholds(answers["valid"].by_track())
  reports = {}
  for side in answers:
    reports[side] = write_evaluation(
      folder / "eval",
      answers[side],
      session.split,
      side,
      seed=stored["seed"],
      checkpoint_step=int(state.step),
      parameters=session.parameters(),
      thresholds=thresholds,
    )
    print(_one_line(side, reports[side]))
  print(f"results   {folder / 'eval'}, checkpoint {path}")
  if config.train.report:
    write_report(session, folder, state, answers, eval_step, mesh)
  if session.prepared.source == "synthetic":
    print("notice    accuracy on the synthetic corpus says nothing about real music")
  return reports


def _checkpoint_folder(folder: pathlib.Path, checkpoint: str, metric: str) -> pathlib.Path:
  """The folder that --checkpoint means."""
  if checkpoint not in ("best", "last"):
    return checkpoints.locate(checkpoint, metric)
  best = checkpoints.locate(str(folder), metric)
  if checkpoint == "best":
    return best
  return best.with_name(str(max(int(p.name) for p in best.parent.iterdir() if p.name.isdigit())))


def _one_line(side: str, report: dict) -> str:
  """The figures of a side as one line."""
  parts = []
  for unit in ("segment", "track"):
    figures = report[unit]
    if not figures["n"]:
      return f"{side:9} no clips"
    if report["task"] == "multi_label":
      parts.append(
        f"{unit}s n={figures['n']}: "
        + ", ".join(
          name.replace("_", " ").replace("match", "match %")
          + " "
          + as_text(name, figures[name], figures["ci95"][name])
          for name in ("pr_auc_macro", "roc_auc_macro", "f1_macro", "exact_match", "top_match")
        )
      )
      continue
    low, high = figures["ci95"]
    parts.append(
      f"{unit} accuracy {100 * figures['accuracy']:.2f} % "
      f"[{100 * low:.1f}, {100 * high:.1f}] n={figures['n']}"
    )
  return f"{side:9} " + "; ".join(parts) + ("  LEAKY SPLIT" if report["leaky"] else "")
