"""Make the runs of a protocol and its results: `python -m genre_jax.protocol P2 --data=GTZAN`.

Makes the runs that are not finished, one process each. Stores the results of all finished runs in
results/P2.json, and writes the page from all stored results. `python -m genre_jax.protocol
--entries=none` writes only the page.
"""

from absl import flags

from genre_jax import command_line
from genre_jax.errors import UserError

DATA = flags.DEFINE_string(
  "data",
  "",
  "Folder of the corpus: of GTZAN with log_mel.npz and audio/, or of the spoken digits. Without it,"
  " gtzan/ or fsdd/ in the folder that the environment variable GENRE_JAX_DATA names.",
)
WORKDIR = flags.DEFINE_string("workdir", "runs/protocol", "Folder of the runs.")
RESULTS = flags.DEFINE_string("results", "results", "Folder of the stored results.")
INTO = flags.DEFINE_string("into", "docs/results/protocols.md", "The page, which is replaced.")
ENTRIES = flags.DEFINE_string(
  "entries",
  "",
  "Only these entries of the protocol, separated by commas; 'none' makes no runs, and without a"
  " protocol writes only the page.",
)
SEEDS = flags.DEFINE_integer("seeds", 1000, "At most this many seeds of an entry.", lower_bound=1)


def main(argv: list[str]) -> int:
  """Make runs and write results; return exit status 1 if a run failed."""
  from genre_jax.studies import (
    protocol_runs,  # here: flags are checked first, at once
    protocols,  # here: flags are checked first, at once
  )

  names = argv[1:]
  if not names and ENTRIES.value == "none":
    protocol_runs.write_page(RESULTS.value, INTO.value)
    print(f"written   {INTO.value}")
    return 0
  if len(names) != 1 or names[0] not in protocols.PROTOCOLS:
    raise UserError(f"give one protocol, of {', '.join(protocols.PROTOCOLS)}")
  failed = protocol_runs.run_protocol(
    names[0],
    data=DATA.value,
    workdir=WORKDIR.value,
    results=RESULTS.value,
    into=INTO.value,
    entries=ENTRIES.value,
    seeds=SEEDS.value,
  )
  return int(failed > 0)


if __name__ == "__main__":
  command_line.run(main)
