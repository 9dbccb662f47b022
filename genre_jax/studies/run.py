"""Train, evaluate and report one experiment: `train_and_evaluate(config, workdir)`."""

import pathlib

import ml_collections

from genre_jax.errors import UserError
from genre_jax.reports.report import write_report
from genre_jax.training import checkpoints, steps
from genre_jax.training import workdir as workdir_lib
from genre_jax.training.evaluate import evaluate
from genre_jax.training.loop import train
from genre_jax.training.setup import open_experiment


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
  experiment = open_experiment(config)
  mesh = steps.device_mesh()
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with workdir_lib.sole_use(folder):
      workdir_lib.claim_workdir(folder, config, experiment.prepared.path.name)
      if mode != "eval":
        train(experiment, folder, mesh)
      if mode == "train":
        return {}
      evaluation = evaluate(experiment, folder, mesh, checkpoint)
      if config.train.report:
        write_report(
          experiment,
          folder,
          evaluation.state,
          evaluation.predictions,
          evaluation.eval_step,
          mesh,
        )
      if experiment.prepared.source == "synthetic":
        print("notice    accuracy on the synthetic corpus says nothing about real music")
      return evaluation.reports
  except OSError as error:
    raise UserError(
      f"cannot write to {folder}: {error.strerror or error}; free space there or name"
      " another folder with --workdir (checkpoints that were written are kept)"
    ) from error
