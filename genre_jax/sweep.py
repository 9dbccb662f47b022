"""Run one config with several values: `python -m genre_jax.sweep --config=... --sweep seed=0,1,2`.

Every --sweep names a field and its values. The command runs every combination in its own process.
Values are split at commas outside brackets and quotes:
--sweep 'dataset.genres="disco,metal","disco,rock"'.
"""

import pathlib

from absl import flags

from genre_jax import command_line
from genre_jax.errors import UserError

CONFIG = command_line.define_config()
SWEEP = flags.DEFINE_multi_string("sweep", [], "FIELD=VALUE,VALUE...; repeatable.")
WORKDIR = flags.DEFINE_string("workdir", "", "Sweep folder; runs/sweep_<config name> if empty.")


def main(argv: list[str]) -> int:
  """Run unfinished combinations and print the table; return 1 if a run failed."""
  config, name = command_line.experiment(argv, CONFIG)
  if not SWEEP.value:
    raise UserError("--sweep is missing: give a field and its values, as --sweep seed=0,1,2")
  from ml_collections import config_flags

  from genre_jax.studies import sweep_runs

  fields = sweep_runs.parse_sweeps(SWEEP.value)
  holder = flags.FLAGS["config"]
  config_file = config_flags.get_config_filename(holder)
  overrides = sweep_runs.arguments_of(
    {
      field: str(value)
      for field, value in config_flags.get_override_values(holder).items()
      if field not in fields
    }
  )
  members = sweep_runs.plan(config, fields)
  folder = pathlib.Path(WORKDIR.value or f"runs/sweep_{name}")
  print(
    f"sweep     {len(members)} runs in {folder}: "
    + ", ".join(f"{field} {len(values)}" for field, values in fields.items())
  )
  try:
    folder.mkdir(parents=True, exist_ok=True)
    rows = sweep_runs.run_all(members, sweep_runs.Runner(config_file, overrides, folder), folder)
  except OSError as error:
    raise UserError(
      f"cannot write to {folder}: {error.strerror or error}; give another folder with --workdir"
    ) from error
  print()
  print((folder / "table.md").read_text(encoding="utf-8"))
  print(f"written   {folder}: table.md, table.csv, runs.csv")
  return int(any(row.status == "failed" for row in rows))


if __name__ == "__main__":
  command_line.run(main)
