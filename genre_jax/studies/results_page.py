"""Write the page of protocol results, in Markdown, from the stored results.

The texts of the page are here, in `protocols.py` and in `benchmark_sections.py`.
"""

import pathlib
from typing import Any

from genre_jax.files import write_whole
from genre_jax.studies import benchmark_sections
from genre_jax.studies.markdown import interval, number, paragraphs, percent, table
from genre_jax.studies.protocols import PROTOCOLS, Protocol
from genre_jax.studies.stored_results import read_results

NAMED_TRACKS = 50  # of those that no network classifies correctly

HEADER = """# Results of the protocols

`python -m genre_jax.protocol` generates this page from the files of `results/`. A protocol is a
set of runs on one dataset and split; `python -m genre_jax.protocol NAME` makes its runs again.
Results of two programs in `benchmarks/` are at the end.
"""

READING = (
  "- **Accuracy** is the mean over seeds, with a 95 % interval: a bootstrap over the groups that"
  " the section names (within each class) and over seeds. If every prediction is right, or every"
  " one wrong, it is Wilson's interval with the groups as trials.",
  "- **NLL** is the mean negative log-likelihood of the true class.",
  "- **Minutes** are the training time of one run on one or two CPU cores that other programs used"
  " at the same time: they are an upper bound.",
  "- **Commit** is the version of the code that made the runs. Networks have their current names,"
  " also where that commit used another name.",
  "- **Differences** are paired: both networks were evaluated on the same tracks, and both were"
  " read in one program run. A row without a difference was not available in that program run.",
  "- **McNemar p** compares the predictions of the mean probabilities over seeds; the difference is"
  " the mean of single seeds. The test takes tracks as independent, which tracks of one artist are"
  " not. If the test and the interval disagree, rely on the interval. Holm's correction is over the"
  " exploratory comparisons of the section.",
  "- **mfcc_logistic_regression** is a reference without a network: mean and standard deviation of"
  " 20 MFCC over time into a logistic regression with a fixed penalty.",
)

COLUMNS = {
  "pr_auc_macro": "PR-AUC, macro",
  "exact_match": "exact match, %",
  "top_match": "top-2 match, %",
}


def write(results: pathlib.Path, page: pathlib.Path) -> None:
  """Write the page from all stored results.

  Args:
    results: Folder of the stored results.
    page: The page; its folder is made if absent.
  """
  parts = [HEADER, "## How to read the tables\n", paragraphs(*READING, separator="\n") + "\n"]
  parts += [section(name, read_results(results, name)) for name in PROTOCOLS]
  for name, write_section in benchmark_sections.SECTIONS.items():
    if stored := read_results(results, name):
      parts.append(write_section(stored))
  page.parent.mkdir(parents=True, exist_ok=True)
  write_whole(page, "\n".join(parts))


def section(name: str, results: dict[str, Any]) -> str:
  """Return the section of a protocol.

  Args:
    name: One of PROTOCOLS.
    results: Its stored results, or {}.
  """
  protocol = PROTOCOLS[name]
  order = {entry.name: i for i, entry in enumerate(protocol.entries)}
  rows = sorted(results.get("rows", []), key=lambda row: order.get(row["entry"], len(order)))
  parts = [f"## {protocol.title}", paragraphs(protocol.description)]
  if rows:
    multi_label = "pr_auc_macro" in rows[0]["metrics"]
    parts.append(_multi_label_rows(protocol, rows) if multi_label else _rows(protocol, rows))
    parts.append(paragraphs(_interval_note(protocol, multi_label)))
    parts += _differences(results["differences"], order, multi_label)
  parts += _never_correct(protocol, results.get("never_correct"))
  parts += _calibration(protocol, results.get("calibration"))
  parts += _chance(results.get("chance"))
  if missing := [name for name in order if name not in {row["entry"] for row in rows}]:
    parts.append(paragraphs("Not run: " + "; ".join(missing) + "."))
  return "\n\n".join(parts) + "\n"


def _rows(protocol: Protocol, rows: list[dict[str, Any]]) -> str:
  heads = (
    "network", "parameters", "seeds", f"{protocol.unit}s n", "accuracy %, mean [95 %]",
    "sd over seeds", "NLL", "training min", "commit",
  )  # fmt: skip
  cells = []
  for row in rows:
    accuracy = row["metrics"]["accuracy"]
    cells.append(
      (
        row["entry"],
        f"{row['parameters']:,}",
        row["seeds"],
        row["n"],
        percent(accuracy),
        number(accuracy["sd"], 1, scale=100),
        number(row["metrics"]["nll"]["value"], 3),
        number(row["minutes"], 1),
        ", ".join(row["commits"]),
      )
    )
  return table(heads, cells)


def _multi_label_rows(protocol: Protocol, rows: list[dict[str, Any]]) -> str:
  heads = (
    "network", "parameters", "seeds", f"{protocol.unit}s n",
    *(f"{head} [95 %]" for head in COLUMNS.values()), "sd over seeds", "training min", "commit",
  )  # fmt: skip
  cells = []
  for row in rows:
    cells.append(
      (
        row["entry"],
        f"{row['parameters']:,}",
        row["seeds"],
        row["n"],
        *_multi_label_cells(row["metrics"]),
        number(row["metrics"]["pr_auc_macro"]["sd"], 3),
        number(row["minutes"], 1),
        ", ".join(row["commits"]),
      )
    )
  return table(heads, cells)


def _multi_label_cells(metrics: dict[str, Any], sign: str = "") -> list[str]:
  """Return the cells of the metrics in COLUMNS."""
  return [
    percent(metrics[name], sign)
    if name.endswith("match")
    else interval(metrics[name], 3, sign=sign)
    for name in COLUMNS
  ]


def _interval_note(protocol: Protocol, multi_label: bool) -> str:
  groups = protocol.groups or f"{protocol.unit}s"
  if not multi_label:
    return f"Intervals: bootstrap over {groups} and seeds."
  return (
    f"Intervals: bootstrap over {groups}, of the mean over seeds; Wilson's if no mixture or every"
    " mixture matches. A class that a draw loses keeps its value, so the metrics of classes with"
    f" one or two {groups} vary less than they should. The deviation over seeds is of the PR-AUC."
  )


def _differences(
  differences: list[dict[str, Any]], order: dict[str, int], multi_label: bool
) -> list[str]:
  """Return a table of paired differences for each reference."""
  tables = []
  for reference in dict.fromkeys(item["reference"] for item in differences):
    own = [item for item in differences if item["reference"] == reference]
    own.sort(key=lambda item: order.get(item["entry"], len(order)))
    if multi_label:
      heads = (f"{reference} minus", *(f"{head} [95 %]" for head in COLUMNS.values()))
      cells = [(item["entry"], *_multi_label_cells(item["metrics"], "+")) for item in own]
    else:
      heads = (f"{reference} minus", "points [95 %]", "McNemar p", "after Holm", "comparison")
      cells = [
        (
          item["entry"],
          percent(item["metrics"]["accuracy"], "+"),
          f"{item['mcnemar_p']:.2g}",
          "-" if item["holm_p"] is None else f"{item['holm_p']:.2g}",
          item["kind"],
        )
        for item in own
      ]
    tables.append(table(heads, cells))
  return tables


def _never_correct(protocol: Protocol, stored: dict[str, Any] | None) -> list[str]:
  """Return a paragraph on tracks that no seed classifies correctly."""
  if not stored:
    return []
  units, count, n = f"{protocol.unit}s", stored["count"], stored["n"]
  if not count:
    text = f"Each of the {n} {units} is classified correctly by at least one seed of one network."
    return [paragraphs(text)]
  text = (
    f"No seed of any of {len(stored['entries'])} networks classifies {count} of {n} {units}"
    f" correctly. A perfect choice among them would reach {100 * (1 - count / n):.1f} %."
  )
  if len(stored["tracks"]) > NAMED_TRACKS:
    text += f" The stored results name these {units}."
  elif stored["tracks"]:
    source = stored["predictions_of"]
    text += f" These {units}, with the prediction of seed {source['seed']} of {source['entry']}: "
    text += ", ".join(f"{track} ({label})" for track, label in stored["tracks"].items()) + "."
  return [paragraphs(text)]


def _calibration(protocol: Protocol, stored: dict[str, Any] | None) -> list[str]:
  """Return a table of calibration before and after a temperature."""
  if not stored:
    return []
  names = ("nll", "brier", "ece")
  rows = {
    "uncalibrated": stored["uncalibrated"],
    f"temperature fitted on other {protocol.groups or protocol.unit + 's'}": stored[
      "cross_fitted_temperature"
    ],
  }
  return [
    paragraphs(
      f"Calibration of {stored['entry']}, mean over {stored['seeds']} seeds, n = {stored['n']}:"
    ),
    table(
      ("probabilities", "NLL", "Brier", "ECE, 10 bins"),
      [(name, *(number(metrics[key], 3) for key in names)) for name, metrics in rows.items()],
    ),
    paragraphs(
      "A perfectly calibrated model with these probabilities has an ECE below"
      f" {number(stored['ece_limit'], 3)} in 95 % of draws at this n. After the temperature"
      f" {stored['seeds_within_limit']} of {stored['seeds']} seeds are below it."
    ),
  ]


def _chance(stored: dict[str, Any] | None) -> list[str]:
  """Return a paragraph on what guessing gives."""
  if not stored:
    return []
  return [
    paragraphs(
      f"{stored['classes_present']} of {stored['classes']} classes occur. Guessing gives a macro"
      f" PR-AUC of about {number(stored['pr_auc_macro'], 3)}, and the {stored['labels_per_row']}"
      f" labels of a row have the highest probabilities in {100 * stored['top_match']:.1f} % of"
      " rows."
    )
  ]
