"""Evaluated runs against each other, track by track, from their folders.

Reads config.json and eval/SIDE.{json,csv}; runs that differ in nothing but the seed are one system.
Used by `genre_jax/compare.py`.
"""

import dataclasses
import itertools
import json
import os
import pathlib
import re

import numpy as np

from genre_jax.errors import UserError
from genre_jax.evaluation import significance
from genre_jax.evaluation.run_predictions import Run, read_run


@dataclasses.dataclass(frozen=True)
class System:
  """Runs of one config that differ in the seed alone.

  Attributes:
    name: that the table shows.
    runs: sorted by seed.
  """

  name: str
  runs: tuple[Run, ...]

  @property
  def correct(self) -> np.ndarray:
    """bool[seeds, tracks]."""
    return np.stack([run.correct for run in self.runs])

  @property
  def together(self) -> np.ndarray:
    """bool[tracks]: whether the mean probabilities of all seeds are right."""
    run = self.runs[0]
    if len(self.runs) == 1:
      return run.correct
    mean = np.mean([run.probabilities for run in self.runs], 0)
    return np.array(run.classes)[mean.argmax(1)] == np.array(run.labels)


@dataclasses.dataclass(frozen=True)
class Pair:
  """Two systems on the same tracks.

  Attributes:
    a, b: names.
    difference: accuracy of a minus that of b, mean over seeds.
    low, high: its 95 % interval.
    only_a, only_b: tracks that only one has right (each the mean of its seeds).
    p, p_holm: McNemar's, and Holm's correction over all pairs.
  """

  a: str
  b: str
  difference: float
  low: float
  high: float
  only_a: int
  only_b: int
  p: float
  p_holm: float


def choose_split(folders) -> str:
  """'test' where every run has clips there, else 'valid'."""
  try:
    sizes = [
      json.loads((pathlib.Path(folder) / "eval" / "test.json").read_text())["track"]["n"]
      for folder in folders
    ]
  except (OSError, ValueError, KeyError, TypeError):
    return "validation"
  return "test" if all(sizes) else "validation"


def read_systems(folders, split: str) -> list[System]:
  """Reads runs and puts those of one config together.

  Args:
    folders: of the runs; their order is that of the systems.
    side: 'valid' or 'test'.
  Raises:
    UserError: if runs were asked about different tracks, or one is given twice.
  """
  runs = [read_run(folder, split) for folder in folders]
  for run in runs[1:]:
    check_same_tracks(runs[0], run)
  systems: dict[str, list[Run]] = {}
  for run in runs:
    key = {name: value for name, value in run.config.items() if name != "seed"}
    same = systems.setdefault(json.dumps(key, sort_keys=True), [])
    for other in same:
      if other.config["seed"] == run.config["seed"]:
        raise UserError(
          f"{other.folder} and {run.folder} are the same run: one config, seed"
          f" {run.config['seed']}. Give it once"
        )
    same.append(run)
  if len(systems) < 2:
    raise UserError("these runs differ in the seed alone: give runs of two or more configs")
  names = _names(list(systems.values()))
  return [
    System(name, tuple(sorted(same, key=lambda run: run.config["seed"])))
    for name, same in zip(names, systems.values(), strict=True)
  ]


def check_same_tracks(a: Run, b: Run) -> None:
  """Raises UserError unless both runs were asked about the same tracks of the same split."""
  where = f"{a.folder} and {b.folder} cannot be compared: "
  for name in a.split.keys() | b.split.keys():
    if a.split.get(name) != b.split.get(name):
      raise UserError(f"{where}{name} is {a.split.get(name)} there and {b.split.get(name)} here")
  if a.classes != b.classes:
    raise UserError(f"{where}their genres are {', '.join(a.classes)} and {', '.join(b.classes)}")
  if a.tracks != b.tracks:
    missing = sorted(set(a.tracks) ^ set(b.tracks))
    raise UserError(
      f"{where}{len(a.tracks)} and {len(b.tracks)} tracks, and {len(missing)} that"
      f" only one has, as {missing[0]}"
    )
  for kind, one, other in (("label", a.labels, b.labels), ("group", a.groups, b.groups)):
    for track, x, y in zip(a.tracks, one, other, strict=True):
      if x != y:
        raise UserError(f"{where}the {kind} of {track} is {x} there and {y} here")


def _names(systems: list[list[Run]]) -> list[str]:
  """A folder's name, or what the names of a system's folders begin with; numbered if not unique."""
  names = []
  for runs in systems:
    folders = [run.folder.resolve().name for run in runs]
    common = os.path.commonprefix(folders) if len(folders) > 1 else folders[0]
    if len(folders) > 1:
      common = re.sub(r"[\W_]*(seed[\W_]*\d*)?$", "", common)
    names.append(common or str(runs[0].config["model.name"]))
  return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]


def compare(systems: list[System], pairs=None) -> list[Pair]:
  """Pairs of systems on the same tracks.

  Args:
    systems: all of them.
    pairs: (system, system) for each; every pair in order if None.
  """
  run = systems[0].runs[0]
  rows = []
  for a, b in pairs or itertools.combinations(systems, 2):
    interval = significance.paired_difference(a.correct, b.correct, run.groups, run.labels)
    only_a = int((a.together & ~b.together).sum())
    only_b = int((b.together & ~a.together).sum())
    rows.append((a.name, b.name, *interval, only_a, only_b, significance.mcnemar(only_a, only_b)))
  corrected = significance.holm([row[-1] for row in rows])
  return [Pair(*row, float(p)) for row, p in zip(rows, corrected, strict=True)]


def to_markdown(systems: list[System], pairs: list[Pair], split: str) -> str:
  """Both tables, and what they say."""
  run = systems[0].runs[0]
  groups = len(set(run.groups))
  lines = [
    f"{len(run.tracks)} tracks of {groups} groups, {split} side of {run.split['name']}"
    + (" (LEAKY)" if run.split["leaky"] else "")
    + ".",
    "",
    "| system | seeds | track accuracy %, mean | sd over seeds | seeds' mean probabilities % |",
    "|---|---|---|---|---|",
  ]
  for system in systems:
    accuracy = 100 * system.correct.mean(1)
    sd = f"{accuracy.std(ddof=1):.1f}" if len(accuracy) > 1 else "-"
    lines.append(
      f"| {system.name} | {len(accuracy)} | {accuracy.mean():.1f} | {sd} "
      f"| {100 * system.together.mean():.1f} |"
    )
  lines += [
    "",
    "| A | B | A - B, points [95 %] | only A right | only B right | McNemar p | after Holm |",
    "|---|---|---|---|---|---|---|",
  ]
  for pair in pairs:
    lines.append(
      f"| {pair.a} | {pair.b} | {100 * pair.difference:+.1f} "
      f"[{100 * pair.low:+.1f}, {100 * pair.high:+.1f}] | {pair.only_a} | {pair.only_b} "
      f"| {pair.p:.3g} | {pair.p_holm:.3g} |"
    )
  lines += [
    "",
    "A - B is the difference of mean accuracies over seeds on the same tracks; its interval is"
    " a bootstrap over groups (artists) within genre and over seeds. McNemar's test asks the mean"
    " of each system's seeds once a track and takes tracks as independent, which songs of one"
    f" artist are not; Holm's correction is over the {len(pairs)} pair{'s' * (len(pairs) > 1)}.",
  ]
  if any(len(system.runs) == 1 for system in systems):
    lines.append("A system of one seed says nothing about other seeds: its interval is too narrow.")
  if split == "validation":
    lines.append(
      "Where train.best_metric is not last, the valid side chose the checkpoint as well,"
      " and accuracies on it are flattered."
    )
  return "\n".join(lines) + "\n"
