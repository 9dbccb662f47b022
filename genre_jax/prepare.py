"""Compute and store an experiment's spectrograms: `python -m genre_jax.prepare --config=...`.

`main` does the same on demand; use this command to prepare a dataset without training.
"""

import functools

from genre_jax import command_line
from genre_jax.engine_flags import EngineFlags

CONFIG = command_line.define_config()
ENGINE = EngineFlags()


def main(argv: list[str]) -> None:
  """Prepare the dataset and print the number of tracks."""
  config, _ = command_line.experiment(argv, CONFIG)
  engine = None
  if ENGINE.is_ray():
    from genre_jax.distributed import ray_tasks

    engine = functools.partial(ray_tasks.write_shards, address=ENGINE.address)
  from genre_jax.data.prepared import prepare  # here: flag errors appear first
  from genre_jax.training.setup import open_dataset, warn_about_empty_classes

  source, frontend = open_dataset(config)
  prepared = prepare(
    source,
    frontend,
    config.dataset.prepared_dir,
    task=config.task,
    workers=config.dataset.workers,
    engine=engine,
  )
  print(f"{len(prepared.clips)} tracks, {len(prepared.skipped)} skipped, in {prepared.path}")
  warn_about_empty_classes(prepared)


if __name__ == "__main__":
  command_line.run(main)
