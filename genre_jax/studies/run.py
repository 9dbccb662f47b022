"""Train, evaluate and report one experiment: `train_and_evaluate(config, workdir)`."""

import contextlib
import hashlib
import json
import pathlib

import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh

from genre_jax.errors import UserError
from genre_jax.evaluation.run_predictions import identity
from genre_jax.reports.report import write_report
from genre_jax.training import checkpoints, processes, steps
from genre_jax.training import workdir as workdir_lib
from genre_jax.training.evaluate import evaluate
from genre_jax.training.loop import train
from genre_jax.training.setup import Experiment, open_experiment


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
  with processes.watch():
    with processes.together():
      fields = {f"config.{name}": value for name, value in identity(config.to_dict()).items()}
      fields |= {"--workdir": workdir, "--mode": mode, "--checkpoint": checkpoint}
      processes.check_same(fields)
      if mode == "eval" and checkpoint in ("best", "last"):
        checkpoints.locate(workdir)  # fail before hours of preparing
    experiment = processes.one_after_another(lambda: open_experiment(config))
    prepared = experiment.prepared
    tracks = json.dumps([[clip.track for clip in prepared.clips], prepared.num_frames])
    with processes.together():
      processes.check_same(
        {
          "the prepared set": prepared.path.name,
          "the hash of its tracks": hashlib.sha256(tracks.encode()).hexdigest()[:12],
        }
      )
    try:
      with processes.together(), contextlib.ExitStack() as stack:
        return _run(experiment, folder, mode, checkpoint, stack)
    except OSError as error:
      raise UserError(
        f"cannot write to {folder}: {error.strerror or error}; free space there or name"
        " another folder with --workdir (written checkpoints are kept)"
      ) from error


def _run(
  experiment: Experiment,
  folder: pathlib.Path,
  mode: str,
  checkpoint: str,
  stack: contextlib.ExitStack,
) -> dict[str, dict]:
  """Train and evaluate an experiment; a lock of the folder is entered into the stack."""
  config, mesh = experiment.config, steps.device_mesh()
  with processes.together():
    if processes.is_first():
      folder.mkdir(parents=True, exist_ok=True)
      stack.enter_context(workdir_lib.lock_workdir(folder))
      workdir_lib.claim_workdir(folder, config, experiment.prepared.path.name)
  with processes.together():
    workdir_lib.check_shared(folder)
  if mode != "eval":
    train(experiment, folder, mesh)
  if mode == "train":
    return {}
  evaluation = evaluate(experiment, folder, mesh, checkpoint)
  if config.train.report and processes.is_first():
    state = evaluation.state
    if mesh.is_multi_process:  # the others take no part
      mesh, state = Mesh(np.array(jax.local_devices()), ("data",)), jax.tree.map(np.asarray, state)
    write_report(experiment, folder, state, evaluation.predictions, evaluation.eval_step, mesh)
  if experiment.prepared.source == "synthetic":
    print("notice    accuracy on the synthetic corpus does not apply to real music")
  return evaluation.reports
