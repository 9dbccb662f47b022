"""Lines of RESULTS.md of clips with several genres: area under precision and recall, both found.

Beside `protocol_tables.py`, which does it for one genre a clip.
"""

import math
import pathlib

import numpy as np

from genre_jax.evaluation.metrics import Predictions
from genre_jax.evaluation.multi_label_metrics import BootstrapMetrics, as_text
from genre_jax.evaluation.run_predictions import read_multi_label
from genre_jax.studies.protocol_tables import MINUTES, facts, finished
from genre_jax.studies.protocols import Protocol

# Heading and name in multi_label_metrics.FIGURES.
COLUMNS = (
  ("PR-AUC, macro", "pr_auc_macro"),
  ("both found, %", "exact_match"),
  ("both lead, %", "top_match"),
)


def to_markdown(protocol: Protocol, data: pathlib.Path, folder: pathlib.Path) -> str:
  """A protocol's part of RESULTS.md."""
  heads = " | ".join(f"{head} [95 %]" for head, _ in COLUMNS)
  lines = [
    f"## {protocol.title}",
    "",
    protocol.description,
    "",
    f"| network | parameters | seeds | {protocol.unit}s n | {heads} | sd over seeds "
    "| training min | commit |",
    "|---" * (7 + len(COLUMNS)) + "|",
  ]
  systems: dict[str, BootstrapMetrics] = {}
  for entry in protocol.entries:
    whole = finished(entry, data, folder)
    if not whole:
      lines.append(f"| {entry.name} | | not run |" + " |" * (4 + len(COLUMNS)))
      continue
    predictions = BootstrapMetrics([read_multi_label(run, protocol.split) for (run,) in whole])
    systems[entry.name], facts_of_entry = predictions, facts(whole, protocol.split)
    cells = " | ".join(
      as_text(name, predictions.seen[name], predictions.interval(name)) for _, name in COLUMNS
    )
    each = [BootstrapMetrics([run]).seen["pr_auc_macro"] for run in predictions.runs]
    sd = f"{np.std(each, ddof=1):.3f}" if len(each) > 1 else "-"
    lines.append(
      f"| {entry.name} | {facts_of_entry.parameters:,} | {len(whole)} "
      f"| {len(predictions.runs[0][0].names)} | {cells} | {sd} | {facts_of_entry.minutes:.1f} "
      f"| {facts_of_entry.commits} |"
    )
  lines += [
    "",
    f"Interval: bootstrap over {protocol.groups}, of the mean over seeds; Wilson's"
    " where no row or every row is found. A class that a draw loses keeps its figure:"
    f" those of one or two {protocol.groups} vary less than they should. {MINUTES}",
  ]
  first = systems.pop(protocol.entries[0].name, None)
  if first:
    lines += _chance(first.runs[0][0])
  if first and systems:
    lines += [
      "",
      f"| {protocol.entries[0].name} minus | {heads} |",
      "|---" * (1 + len(COLUMNS)) + "|",
    ]
    for name, other in systems.items():
      cells = " | ".join(as_text(figure, *first.minus(other, figure), "+") for _, figure in COLUMNS)
      lines.append(f"| {name} | {cells} |")
  return "\n".join(lines) + "\n"


def _chance(asked: Predictions) -> list[str]:
  """Lines on what guessing gives: how many classes occur, prevalence of labels, leading by luck.

  The area under precision and recall of a score that says nothing is the prevalence of its label.
  """
  held = asked.labels & asked.known
  occur = held.any(0)
  number = np.bincount(held.sum(1)).argmax()  # labels of a row, as most have it
  return [
    "",
    f"{occur.sum()} of {len(occur)} classes occur. Guessing gives a macro PR-AUC of about"
    f" {held[:, occur].mean():.3f}, and the {number} labels of a row lead in"
    f" {100 / math.comb(len(occur), int(number)):.1f} %.",
  ]
