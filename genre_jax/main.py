"""Train and evaluate an experiment: `python -m genre_jax.main --config=experiments/tf_split.py`.

Any field of the config is a flag, as `--config.optimizer.learning_rate=3e-4`.
"""

from absl import flags

from genre_jax import command_line

CONFIG = command_line.define_config()
WORKDIR = flags.DEFINE_string("workdir", "", "Folder of the run; runs/<config name> if empty.")
MODE = flags.DEFINE_enum(
  "mode", "train_and_eval", ["train_and_eval", "train", "eval", "summary"], "What to do."
)
CHECKPOINT = flags.DEFINE_string("checkpoint", "best", "What to evaluate: best, last or a folder.")


def main(argv: list[str]) -> None:
  """Dispatches on --mode."""
  config, name = command_line.experiment(argv, CONFIG)
  if MODE.value == "summary":
    from genre_jax.training.summary import print_summary  # here: flags are checked first, at once

    print_summary(config)
    return
  from genre_jax.studies.run import train_and_evaluate

  train_and_evaluate(
    config, WORKDIR.value or f"runs/{name}", mode=MODE.value, checkpoint=CHECKPOINT.value
  )


if __name__ == "__main__":
  command_line.run(main)
