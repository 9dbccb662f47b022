"""Summarize the runs of a sweep in tables: runs.csv, table.csv and table.md.

Seeds of one setting share a row; failed runs are listed with their reason.
"""

import csv
import dataclasses
import pathlib
import statistics
from typing import Any

# Column, and where eval/*.json has its value: split, unit, key.
METRICS = (
  ("validation track accuracy", "validation", "track", "accuracy"),
  ("validation segment accuracy", "validation", "segment", "accuracy"),
  ("validation track PR-AUC", "validation", "track", "pr_auc_macro"),
  ("validation track nll", "validation", "track", "nll"),
  ("test track accuracy", "test", "track", "accuracy"),
  ("test segment accuracy", "test", "segment", "accuracy"),
  ("test track PR-AUC", "test", "track", "pr_auc_macro"),
  ("test track nll", "test", "track", "nll"),
)


@dataclasses.dataclass(frozen=True)
class Member:
  """A planned run of a sweep.

  Attributes:
    values: {field: value as given}.
    name: Name of its folder.
    config: Its config, as `run_predictions.identity` returns it.
  """

  values: dict[str, str]
  name: str
  config: dict[str, Any]


@dataclasses.dataclass
class Row:
  """The result of a member.

  Attributes:
    member: The planned run.
    status: 'done', 'failed' or 'not run'.
    reason: Why it failed, or ''.
    metrics: {column of METRICS: value}; None if the run does not have it.
  """

  member: Member
  status: str = "not run"
  reason: str = ""
  metrics: dict[str, float | None] = dataclasses.field(default_factory=dict)


def summarize(rows: list[Row]) -> list[dict[str, Any]]:
  """Summarize the seeds of each setting.

  Args:
    rows: Results of all members.

  Returns:
    A line for each setting: its swept fields except the seed, n and failed (numbers of runs), and
    mean and sd of each metric over seeds. A mean without seeds is None, and so is an sd of fewer
    than two.
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
      values = [row.metrics[name] for row in same if row.metrics.get(name) is not None]
      line[f"{name} mean"] = statistics.fmean(values) if values else None
      line[f"{name} sd"] = statistics.stdev(values) if len(values) > 1 else None
    table.append(line)
  return table


def to_markdown(rows: list[Row]) -> str:
  """Return the table of `summarize`, followed by the failed runs.

  Args:
    rows: Results of all members.
  """
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
  lines += [
    "",
    "n: seeds. sd: over seeds, of n - 1; it does not include the variation between tracks.",
  ]
  if failed := [row for row in rows if row.status == "failed"]:
    lines += ["", "| failed run | reason |", "|---|---|"]
    lines += [f"| {_cell(row.member.name)} | {_cell(row.reason)} |" for row in failed]
  return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
  return text.replace("|", "\\|")


def write_tables(rows: list[Row], folder: pathlib.Path) -> None:
  """Write runs.csv (one line for each run), table.csv and table.md (one for each setting).

  Args:
    rows: Results of all members.
    folder: Folder of the sweep.
  """
  names = [name for name, *_ in METRICS]
  lines = [
    {
      **row.member.values,
      "run": row.member.name,
      "status": row.status,
      "reason": row.reason,
      **{name: row.metrics.get(name) for name in names},
    }
    for row in rows
  ]
  for file_name, content in (("runs.csv", lines), ("table.csv", summarize(rows))):
    with open(folder / file_name, "w", newline="", encoding="utf-8") as file:
      writer = csv.DictWriter(file, list(content[0]))
      writer.writeheader()
      writer.writerows(content)
  (folder / "table.md").write_text(to_markdown(rows), encoding="utf-8")
