"""Compare runs on the same tracks: `python -m genre_jax.compare RUN_A RUN_B ...`.

Prints differences with 95 % intervals and tests. Writes compare.md, compare.json and a forest plot.
"""

import dataclasses
import math
import pathlib

from absl import flags

from genre_jax import command_line
from genre_jax.errors import UserError

SPLIT = flags.DEFINE_enum(
  "split",
  "",
  ["", "validation", "test"],
  "Split to compare on; if empty, test if every run has test tracks, else validation.",
)
OUT = flags.DEFINE_string("out", "runs/compare", "Folder for the tables and the forest plot.")


def main(argv: list[str]) -> None:
  """Read the runs, print the comparison and write its files."""
  from genre_jax.evaluation import comparison
  from genre_jax.files import write_json
  from genre_jax.reports.forest_plot import forest_plot

  folders = argv[1:]
  if len(folders) < 2:
    raise UserError("give two or more run folders, as runs/a runs/b")
  split = SPLIT.value or comparison.choose_split(folders)
  systems = comparison.read_systems(folders, split)
  pairs = comparison.compare(systems)
  text = comparison.to_markdown(systems, pairs, split)
  print(text)
  out = pathlib.Path(OUT.value)
  try:
    out.mkdir(parents=True, exist_ok=True)
    (out / "compare.md").write_text(text, encoding="utf-8")
    write_json(
      out / "compare.json",
      {
        "split": split,
        "tracks": len(systems[0].runs[0].tracks),
        "systems": [
          {
            "name": system.name,
            "runs": [str(run.folder) for run in system.runs],
            "accuracy": system.correct.mean(1).tolist(),
          }
          for system in systems
        ],
        "pairs": [
          {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in dataclasses.asdict(pair).items()
          }
          for pair in pairs
        ],
      },
    )
    forest_plot(pairs, out / "forest")
  except OSError as error:
    raise UserError(
      f"cannot write to {out}: {error.strerror or error}; give another --out"
    ) from error
  print(f"written   {out}: compare.md, compare.json, forest.png, forest.svg")


if __name__ == "__main__":
  command_line.run(main)
