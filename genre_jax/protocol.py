"""A whole protocol of RESULTS.md: `python -m genre_jax.protocol P2 --data=GTZAN`.

Makes the runs that are not finished, one process each, and writes the protocol's part of
RESULTS.md from all that are.
"""

from absl import flags

from genre_jax import command_line
from genre_jax.errors import UserError

DATA = flags.DEFINE_string(
  "data",
  "",
  "The corpus: GTZAN's folder of log_mel.npz and audio/, or the spoken digits; where"
  " the protocol looks for it if absent: ../shared/gtzan or ../shared/fsdd.",
)
WORKDIR = flags.DEFINE_string("workdir", "runs/protocol", "Folder of the runs.")
INTO = flags.DEFINE_string("into", "RESULTS.md", "Where the tables go.")
ENTRIES = flags.DEFINE_string(
  "entries", "", "Only these lines of the protocol, with commas; 'none' writes the tables alone."
)
SEEDS = flags.DEFINE_integer("seeds", 1000, "The first so many seeds only.", lower_bound=1)


def main(argv: list[str]) -> int:
  """Runs and writes; exit status 1 where a run failed."""
  from genre_jax.studies import (
    protocol_runs,  # here: flags are checked first, at once
    protocols,  # here: flags are checked first, at once
  )

  names = argv[1:]
  if len(names) != 1 or names[0] not in protocols.PROTOCOLS:
    raise UserError(f"give one protocol, of {', '.join(protocols.PROTOCOLS)}")
  return int(
    protocol_runs.run_protocol(
      names[0],
      data=DATA.value,
      workdir=WORKDIR.value,
      into=INTO.value,
      entries=ENTRIES.value,
      seeds=SEEDS.value,
    )
    > 0
  )


if __name__ == "__main__":
  command_line.run(main)
