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
  """Train, evaluate, or both.

  Args:
    config: The resolved experiment.
    workdir: Folder of config.json, metrics.jsonl, checkpoints/ and eval/.
    mode: 'train_and_eval', 'train' or 'eval'.
    checkpoint: Checkpoint to evaluate: 'best', 'last', or a folder.

  Returns:
    {split: content of eval/valid.json or eval/test.json}; {} in mode 'train'.

  Raises:
    UserError: If a value, file or folder is wrong.
    Interrupted: If a signal ended training; the same call resumes it.
  """
  folder = pathlib.Path(workdir)
  if mode != "eval" and checkpoint not in ("best", "last"):
    raise UserError(f"--checkpoint={checkpoint} needs --mode=eval")
  if mode == "eval" and checkpoint in ("best", "last"):
    checkpoints.locate(workdir)  # fail before hours of preparing
  experiment = open_experiment(config)
  mesh = steps.device_mesh()
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with workdir_lib.lock_workdir(folder):
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
        print("notice    accuracy on the synthetic corpus does not apply to real music")
      return evaluation.reports
  except OSError as error:
    raise UserError(
      f"cannot write to {folder}: {error.strerror or error}; free space there or name"
      " another folder with --workdir (written checkpoints are kept)"
    ) from error
