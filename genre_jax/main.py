"""Train and evaluate an experiment: `python -m genre_jax.main --config=experiments/tf_split.py`.

Any field of the config is a flag, as `--config.optimizer.learning_rate=3e-4`.
"""

import pathlib

from absl import flags
from ml_collections import config_flags

from genre_jax import command_line
from genre_jax.errors import UserError

CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, a file of experiments/.",
                                         lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", "", "Folder of the run; runs/<config name> if empty.")
MODE = flags.DEFINE_enum("mode", "train_and_eval", ["train_and_eval", "train", "eval", "summary"],
                         "What to do.")
CHECKPOINT = flags.DEFINE_string("checkpoint", "best", "What to evaluate: best, last or a folder.")


def main(argv: list[str]) -> None:
  """Dispatches on --mode."""
  if len(argv) > 1:
    raise UserError(f"unexpected argument {argv[1]!r}: flags begin with --")
  if CONFIG.value is None:
    raise UserError("--config is missing: give an experiment, as --config=experiments/tf_split.py")
  if MODE.value == "summary":
    from genre_jax.training.summary import print_summary

    print_summary(CONFIG.value)
    return
  from genre_jax.training.loop import train_and_evaluate

  name = pathlib.Path(config_flags.get_config_filename(flags.FLAGS["config"]).split(":")[0]).stem
  train_and_evaluate(CONFIG.value, WORKDIR.value or f"runs/{name}", mode=MODE.value,
                     checkpoint=CHECKPOINT.value)


if __name__ == "__main__":
  command_line.run(main)
