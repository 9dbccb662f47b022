"""Prepare an experiment's spectrograms: `python -m genre_jax.prepare --config=...`.

`main` does the same on demand; this is for doing it beforehand, or for the folder alone.
"""

from genre_jax import command_line

CONFIG = command_line.define_config()


def main(argv: list[str]) -> None:
  """Prepares and says what was prepared."""
  config, _ = command_line.experiment(argv, CONFIG)
  from genre_jax.data.prepared import prepare  # here: flags are checked first, at once
  from genre_jax.training.setup import open_dataset, warn_of_empty_classes

  source, frontend = open_dataset(config)
  prepared = prepare(
    source, frontend, config.dataset.prepared_dir, task=config.task, workers=config.dataset.workers
  )
  print(f"{len(prepared.clips)} clips, {len(prepared.skipped)} skipped, in {prepared.path}")
  warn_of_empty_classes(prepared)


if __name__ == "__main__":
  command_line.run(main)
