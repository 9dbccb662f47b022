"""What became of a sweep's runs, and its tables: runs.csv, table.csv and table.md.

Seeds of one setting are put together; failures stay, with their reason.
"""

import csv
import dataclasses
import pathlib
import statistics
from typing import Any

# What the tables show of each side's eval JSON.
METRICS = (
  ("valid track accuracy", "validation", "track", "accuracy"),
  ("valid segment accuracy", "validation", "segment", "accuracy"),
  ("valid track PR-AUC", "validation", "track", "pr_auc_macro"),
  ("valid track nll", "validation", "track", "nll"),
  ("test track accuracy", "test", "track", "accuracy"),
  ("test segment accuracy", "test", "segment", "accuracy"),
  ("test track PR-AUC", "test", "track", "pr_auc_macro"),
  ("test track nll", "test", "track", "nll"),
)


@dataclasses.dataclass(frozen=True)
class Member:
  """One run of a sweep.

  Attributes:
    values: {field: value as given}.
    name: of its folder.
    config: what it resolves to, as `run_folder.identity` has it.
  """

  values: dict[str, str]
  name: str
  config: dict[str, Any]


@dataclasses.dataclass
class Row:
  """What became of a member: status 'done', 'failed' or 'not run', why, and its figures."""

  member: Member
  status: str = "not run"
  reason: str = ""
  figures: dict[str, float | None] = dataclasses.field(default_factory=dict)


def summarize(rows: list[Row]) -> list[dict[str, Any]]:
  """A line for each setting: the swept fields but the seed, n, failed, and mean and sd over seeds.

  A figure's mean is None where no seed has it, its sd where fewer than two have.
  """
  settings: dict[tuple, list[Row]] = {}
  for row in rows:
    key = tuple((field, value) for field, value in row.member.values.items() if field != "seed")
    settings.setdefault(key, []).append(row)
  table = []
  for key, same in settings.items():
    line: dict[str, Any] = dict(key)
    line["n"] = sum(row.status == "done" for row in same)
    line["failed"] = sum(row.status == "failed" for row in same)
    for name, *_ in METRICS:
      values = [row.figures[name] for row in same if row.figures.get(name) is not None]
      line[f"{name} mean"] = statistics.fmean(values) if values else None
      line[f"{name} sd"] = statistics.stdev(values) if len(values) > 1 else None
    table.append(line)
  return table


def to_markdown(rows: list[Row]) -> str:
  """The table over seeds, and below it what failed."""
  table = summarize(rows)
  fields = [field for field in rows[0].member.values if field != "seed"]
  visible = [
    name for name, *_ in METRICS if any(line[f"{name} mean"] is not None for line in table)
  ]
  lines = [
    "| " + " | ".join([*fields, "n", "failed", *(f"{name}, mean (sd)" for name in visible)]) + " |",
    "|---" * (len(fields) + 2 + len(visible)) + "|",
  ]
  for line in table:
    cells = [_cell(line[field]) for field in fields] + [str(line["n"]), str(line["failed"])]
    for name in visible:
      scale, digits, unit = (1, 3, "") if name.endswith("nll") else (100, 1, " %")
      mean, sd = line[f"{name} mean"], line[f"{name} sd"]
      cells.append(
        "-"
        if mean is None
        else f"{scale * mean:.{digits}f}{unit}"
        + ("" if sd is None else f" ({scale * sd:.{digits}f})")
      )
    lines.append("| " + " | ".join(cells) + " |")
  lines += ["", "n: seeds. sd: over seeds, of n - 1; it holds nothing of the chance of tracks."]
  if failed := [row for row in rows if row.status == "failed"]:
    lines += ["", "| failed run | reason |", "|---|---|"]
    lines += [f"| {_cell(row.member.name)} | {_cell(row.reason)} |" for row in failed]
  return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
  return text.replace("|", "\\|")


def write_tables(rows: list[Row], folder: pathlib.Path) -> None:
  """Writes runs.csv (a line a run), table.csv and table.md (a line a setting)."""
  names = [name for name, *_ in METRICS]
  lines = [
    {
      **row.member.values,
      "run": row.member.name,
      "status": row.status,
      "reason": row.reason,
      **{name: row.figures.get(name) for name in names},
    }
    for row in rows
  ]
  for file_name, content in (("runs.csv", lines), ("table.csv", summarize(rows))):
    with open(folder / file_name, "w", newline="") as file:
      writer = csv.DictWriter(file, list(content[0]))
      writer.writeheader()
      writer.writerows(content)
  (folder / "table.md").write_text(to_markdown(rows))
