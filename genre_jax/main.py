"""Train and evaluate an experiment: `python -m genre_jax.main --config=experiments/tf_split.py`.

Every field of the config is a flag, as `--config.optimizer.learning_rate=3e-4`.
"""

from absl import flags

from genre_jax import command_line

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


def main(argv: list[str]) -> None:
  """Run what --mode selects."""
  config, name = command_line.experiment(argv, CONFIG)
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
