"""Train and evaluate an experiment: `python -m genre_jax.main --config=experiments/tf_split.py`.

Every field of the config is a flag, as `--config.optimizer.learning_rate=3e-4`.
"""

from absl import flags

from genre_jax import command_line
from genre_jax.errors import UserError

CONFIG = command_line.define_config()
WORKDIR = flags.DEFINE_string("workdir", "", "Run folder; runs/<config name> if empty.")
MODE = flags.DEFINE_enum(
  "mode",
  "train_and_eval",
  ["train_and_eval", "train", "eval", "summary"],
  "Train and evaluate, only train, only evaluate, or print the layers and parameter counts.",
)
CHECKPOINT = flags.DEFINE_string(
  "checkpoint", "best", "Checkpoint to evaluate: best, last or a folder."
)
COORDINATOR = flags.DEFINE_string(
  "coordinator",
  "",
  "HOST:PORT of process 0, if several processes train together; auto: as Slurm, Open MPI or"
  " Kubernetes say. `genre-jax launch` starts processes on one machine.",
)
PROCESSES = flags.DEFINE_integer("processes", 1, "Number of processes.", lower_bound=1)
PROCESS = flags.DEFINE_integer("process", 0, "Index of this process, from 0.", lower_bound=0)


def main(argv: list[str]) -> None:
  """Run what --mode selects."""
  config, name = command_line.experiment(argv, CONFIG)
  if COORDINATOR.value:
    from genre_jax.training import processes

    processes.connect(COORDINATOR.value, PROCESSES.value, PROCESS.value)
  elif PROCESSES.value > 1 or PROCESS.value:
    raise UserError("--processes and --process need --coordinator=HOST:PORT")
  if MODE.value == "summary":
    from genre_jax.training.summary import print_summary  # here: flag errors appear first

    print_summary(config)
    return
  from genre_jax.studies.run import train_and_evaluate

  train_and_evaluate(
    config, WORKDIR.value or f"runs/{name}", mode=MODE.value, checkpoint=CHECKPOINT.value
  )


if __name__ == "__main__":
  command_line.run(main)
