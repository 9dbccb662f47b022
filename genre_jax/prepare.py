"""Prepare an experiment's spectrograms: `python -m genre_jax.prepare --config=...`.

`main` does the same on demand; this is for doing it beforehand, or for the folder alone.
"""

from ml_collections import config_flags

from genre_jax import command_line
from genre_jax.errors import UserError

CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, a file of experiments/.",
                                         lock_config=True)


def main(argv: list[str]) -> None:
  """Prepares and says what was prepared."""
  if len(argv) > 1:
    raise UserError(f"unexpected argument {argv[1]!r}: flags begin with --")
  if CONFIG.value is None:
    raise UserError("--config is missing: give an experiment, as --config=experiments/tf_split.py")
  from genre_jax.data.prepared import prepare
  from genre_jax.training.session import open_material

  config = CONFIG.value
  source, recipe = open_material(config)
  prepared = prepare(source, recipe, config.dataset.prepared_dir, task=config.task,
                     workers=config.dataset.workers)
  print(f"{len(prepared.clips)} clips, {len(prepared.skipped)} skipped, in {prepared.path}")


if __name__ == "__main__":
  command_line.run(main)
