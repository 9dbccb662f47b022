"""Runs side by side, as Markdown: `python -m genre_jax.table RUN...` from their eval/*.json."""

import json
import pathlib

from genre_jax import command_line
from genre_jax.errors import UserError

HEADER = ("| run | network | parameters | split | side | tracks n | track accuracy % [95 %] "
          "| segments n | segment accuracy % [95 %] | seed |\n" + "|---" * 10 + "|")


def _percent(figures: dict) -> str:
  """'81.2 [74.0, 86.8]', or a dash where nothing was measured."""
  if not figures["n"]:
    return "-"
  low, high = figures["ci95"]
  return f"{100 * figures['accuracy']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def rows(workdir: str) -> list[str]:
  """A line for each side of a run that was evaluated.

  Raises:
    UserError: if the folder holds no evaluated run.
  """
  folder = pathlib.Path(workdir)
  lines = []
  try:
    config = json.loads((folder / "config.json").read_text())["config"]
    for side in ("valid", "test"):
      report = json.loads((folder / "eval" / f"{side}.json").read_text())
      if report["track"]["n"]:
        lines.append(
          f"| {folder.name} | {config['model']['name']} | {report['parameters']:,} "
          f"| {report['split']}{' (leaky)' if report['leaky'] else ''} | {side} "
          f"| {report['track']['n']} | {_percent(report['track'])} "
          f"| {report['segment']['n']} | {_percent(report['segment'])} | {report['seed']} |")
  except (OSError, ValueError, KeyError) as error:
    raise UserError(f"{folder} holds no evaluated run ({error}); train it with"
                    f" --workdir={folder}") from error
  return lines


def main(argv: list[str]) -> None:
  """Prints the table."""
  if len(argv) < 2:
    raise UserError("give one or more run folders")
  lines = [line for workdir in argv[1:] for line in rows(workdir)]
  print("\n".join([HEADER, *lines]))


if __name__ == "__main__":
  command_line.run(main)
