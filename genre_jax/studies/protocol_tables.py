"""Lines of RESULTS.md from finished runs: accuracy, paired differences, calibration.

Reads what `protocol_runs.py` left; seeds of which a fold is missing do not count.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from genre_jax.evaluation import calibration, comparison, significance
from genre_jax.evaluation.run_predictions import (
  pool_folds,
  read_config_file,
  read_evaluation,
  read_run,
  training_minutes,
)
from genre_jax.studies import sweep_runs
from genre_jax.studies.protocols import Entry, Protocol, entry_folder, members

LEAST = 1e-6  # the last digit of probabilities in eval/*.csv
MINUTES = (
  "Training minutes are of one run on 1 or 2 cores that other work shared: they bound what"
  " it takes."
)


@dataclasses.dataclass(frozen=True)
class Facts:
  """What a table says of an entry's finished runs beside their figures.

  Attributes:
    parameters: of the network.
    minutes: of training, mean over runs.
    commits: of the runs, ten digits each, with commas.
  """

  parameters: int
  minutes: float
  commits: str


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What the finished runs of an entry gave.

  Attributes:
    system: one Run a seed, folds pooled.
    nll: of the unit, mean over seeds.
    facts: of the runs.
  """

  system: comparison.System
  nll: float
  facts: Facts


def finished(entry: Entry, data: pathlib.Path, folder: pathlib.Path) -> list[list[pathlib.Path]]:
  """Folders of an entry's finished runs, a list for each seed of which no fold is missing."""
  place, seeds = entry_folder(folder, entry), {}
  for member in members(entry, data):
    if sweep_runs.read_row(member, place).status == "done":
      seeds.setdefault(member.values["seed"], []).append(place / member.name)
  return [runs for runs in seeds.values() if len(runs) == max(len(entry.folds), 1)]


def facts(whole: list[list[pathlib.Path]], split: str) -> Facts:
  """What the folders of `finished` hold beside figures."""
  minutes, commits, parameters = [], {}, 0
  for path in (path for folders in whole for path in folders):
    config = read_config_file(path)
    commits[config["commit"][:10] + "-dirty" * config["commit"].endswith("-dirty")] = None
    minutes.append(training_minutes(path, config["config"]["train"]["batch_size"]))
    parameters = read_evaluation(path, split)["parameters"]
  return Facts(parameters, float(np.mean(minutes)), ", ".join(commits))


def outcome(
  protocol: Protocol, entry: Entry, data: pathlib.Path, folder: pathlib.Path
) -> Outcome | None:
  """Reads an entry's finished runs; seeds that lack a fold do not count; None without any."""
  whole = finished(entry, data, folder)
  if not whole:
    return None
  runs = [
    pool_folds([read_run(run, protocol.split, protocol.unit) for run in folders])
    for folders in whole
  ]
  nll = [calibration.negative_log_likelihood(run.probabilities, run.truth, LEAST) for run in runs]
  return Outcome(
    comparison.System(entry.name, tuple(runs)), float(np.mean(nll)), facts(whole, protocol.split)
  )


def to_markdown(protocol: Protocol, data: pathlib.Path, folder: pathlib.Path) -> str:
  """A protocol's part of RESULTS.md."""
  outcomes = {entry.name: outcome(protocol, entry, data, folder) for entry in protocol.entries}
  lines = [
    f"## {protocol.title}",
    "",
    protocol.description,
    "",
    f"| network | parameters | seeds | {protocol.unit}s n | accuracy %, mean [95 %] "
    "| sd over seeds | NLL | training min | commit |",
    "|---" * 9 + "|",
  ]
  for entry in protocol.entries:
    lines.append(_line(entry, outcomes[entry.name]))
  done = {name: o.system for name, o in outcomes.items() if o}
  groups = protocol.groups or f"{protocol.unit}s"
  lines += [
    "",
    f"Interval: bootstrap over {groups} within class, and over seeds where"
    " there are several, around the mean over seeds; Wilson's where all are right or all"
    f" wrong. {MINUTES}",
  ]
  lines += _differences(protocol, done)
  lines += _never_right(protocol, done)
  if protocol.split == "validation" and (first := outcomes[protocol.entries[0].name]):
    lines += _calibration(first.system, groups)
  return "\n".join(lines) + "\n"


def _line(entry: Entry, result: Outcome | None) -> str:
  """An entry's line of the table."""
  if result is None:
    return f"| {entry.name} | | not run | | | | | | |"
  run, correct = result.system.runs[0], result.system.correct
  mean, low, high = significance.accuracy_of_seeds(correct, run.groups, run.labels)
  accuracy = 100 * correct.mean(1)
  sd = f"{accuracy.std(ddof=1):.1f}" if len(accuracy) > 1 else "-"
  return (
    f"| {entry.name} | {result.facts.parameters:,} | {len(accuracy)} | {correct.shape[1]} "
    f"| {100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}] | {sd} "
    f"| {result.nll:.3f} | {result.facts.minutes:.1f} | {result.facts.commits} |"
  )


def _differences(protocol: Protocol, systems: dict[str, Any]) -> list[str]:
  """Lines that compare the first entry with every other that was asked about the same tracks."""
  first, *others = _asked_alike(protocol, systems) or [None]
  if not others:
    return []
  lines = [
    "",
    f"| {first.name} minus | points [95 %] | McNemar p | after Holm | |",
    "|---|---|---|---|---|",
  ]
  stated = [s for s in others if s.name == protocol.primary]
  rest = [s for s in others if s.name != protocol.primary]
  for group, word in ((stated, "primary"), (rest, "exploratory")):
    pairs = comparison.compare([first], [(first, other) for other in group]) if group else []
    for pair in pairs:
      lines.append(
        f"| {pair.b} | {100 * pair.difference:+.1f} [{100 * pair.low:+.1f}, "
        f"{100 * pair.high:+.1f}] | {pair.p:.2g} | "
        f"{'-' if word == 'primary' else f'{pair.p_holm:.2g}'} | {word} |"
      )
  if protocol.groups:
    lines += [
      "",
      "McNemar's test counts the answers of each network's mean over its seeds, the"
      f" difference is of single seeds. The test takes {protocol.unit}s as independent,"
      f" which those of the same {protocol.groups} are not: where it and the interval"
      " disagree, believe the interval.",
    ]
  return lines


def _asked_alike(protocol: Protocol, systems: dict[str, Any]) -> list[comparison.System]:
  """The first entry and all others that were asked about the same tracks; [] without the first."""
  first = systems.get(protocol.entries[0].name)
  return [s for s in systems.values() if first and s.runs[0].tracks == first.runs[0].tracks]


def _never_right(protocol: Protocol, systems: dict[str, Any]) -> list[str]:
  """A line on what no seed of any network has right: a bound for any choice among them."""
  alike = _asked_alike(protocol, systems)
  if len(alike) < 2:
    return []
  wrong = ~np.any([system.correct.any(0) for system in alike], axis=0)
  text = (
    f"No seed of any of {len(alike)} networks has {wrong.sum()} of {len(wrong)}"
    f" {protocol.unit}s right; a choice among them that is always right would have"
    f" {100 * (1 - wrong.mean()):.1f} %."
  )
  run = alike[0].runs[0]
  if protocol.unit == "track" and wrong.any():
    text += f" They are, and seed {run.config['seed']} of {alike[0].name} takes them for: "
    text += ", ".join(f"{run.tracks[i]} ({run.predictions[i]})" for i in np.flatnonzero(wrong))
    text += "."
  return ["", text]


def _calibration(system: comparison.System, groups: str) -> list[str]:
  """Lines on calibration, before and after a cross-fitted temperature, mean over seeds."""
  rows, limits = [], []
  for run in system.runs:
    fitted = calibration.cross_fitted(run.probabilities, run.truth, run.groups)
    rows.append(
      [
        figure
        for p in (run.probabilities, fitted)
        for figure in calibration.calibration_metrics(p, run.truth, LEAST).values()
      ]
    )
    limits.append(calibration.perfect_calibration_error(fitted))
  mean, within = (
    np.mean(rows, 0),
    sum(row[5] <= limit for row, limit in zip(rows, limits, strict=True)),
  )
  return [
    "",
    f"Calibration of {system.name}, mean over {len(rows)} seeds, n = {len(run.tracks)}: ",
    "",
    "| probabilities | NLL | Brier | ECE, 10 bins |",
    "|---|---|---|---|",
    "| as they come | " + " | ".join(f"{x:.3f}" for x in mean[:3]) + " |",
    f"| temperature fitted on other {groups} | " + " | ".join(f"{x:.3f}" for x in mean[3:]) + " |",
    "",
    f"A perfectly calibrated model of these probabilities stays below an ECE of"
    f" {np.mean(limits):.3f} in 95 % of draws at this n; after the temperature"
    f" {within} of {len(rows)} seeds do.",
  ]
