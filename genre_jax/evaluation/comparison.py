"""Compare evaluated runs track by track, from the files in their folders.

It reads config.json and the metrics and predictions of one split. Runs that differ only in the seed
are one system. `genre_jax/compare.py` uses it.
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
  """Runs of one config that differ only in the seed.

  Attributes:
    name: Name in tables.
    runs: The runs, sorted by seed.
  """

  name: str
  runs: tuple[Run, ...]

  @property
  def correct(self) -> np.ndarray:
    """Return bool[seeds, tracks], True where the prediction is correct."""
    return np.stack([run.correct for run in self.runs])

  @property
  def ensemble_correct(self) -> np.ndarray:
    """Return bool[tracks], True where the mean probabilities of all seeds give the label."""
    run = self.runs[0]
    if len(self.runs) == 1:
      return run.correct
    mean = np.mean([run.probabilities for run in self.runs], 0)
    return np.array(run.classes)[mean.argmax(1)] == np.array(run.labels)


@dataclasses.dataclass(frozen=True)
class Pair:
  """Comparison of two systems on the same tracks.

  Attributes:
    a: Name of the first system.
    b: Name of the second system.
    difference: Accuracy of a minus that of b, mean over seeds.
    low: Lower bound of its 95 % interval.
    high: Upper bound of its 95 % interval.
    only_a: Tracks that only a's mean probabilities classify correctly.
    only_b: Tracks that only b's mean probabilities classify correctly.
    p: p-value of McNemar's test.
    p_holm: p with Holm's correction over all pairs.
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
  """Return 'test' if every run has test tracks, else 'validation'."""
  try:
    sizes = [
      json.loads((pathlib.Path(folder) / "eval" / "test.json").read_text())["track"]["n"]
      for folder in folders
    ]
  except (OSError, ValueError, KeyError, TypeError):
    return "validation"
  return "test" if all(sizes) else "validation"


def read_systems(folders, split: str) -> list[System]:
  """Read runs and join those of one config to systems.

  Args:
    folders: Folders of the runs, in the order of the systems.
    split: 'validation' or 'test'.

  Raises:
    UserError: If the runs were evaluated on different tracks, a run is given twice, or there are
      fewer than two configs.
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
    raise UserError("these runs differ only in the seed: give runs of two or more configs")
  names = _names(list(systems.values()))
  return [
    System(name, tuple(sorted(same, key=lambda run: run.config["seed"])))
    for name, same in zip(names, systems.values(), strict=True)
  ]


def check_same_tracks(a: Run, b: Run) -> None:
  """Check that two runs were evaluated on the same tracks of the same split.

  Raises:
    UserError: If splits, classes, tracks, labels or groups differ.
  """
  where = f"{a.folder} and {b.folder} cannot be compared: "
  for name in a.split_config.keys() | b.split_config.keys():
    x, y = a.split_config.get(name), b.split_config.get(name)
    if x != y:
      raise UserError(f"{where}{name} is {x} in the first and {y} in the second")
  if a.classes != b.classes:
    raise UserError(f"{where}their genres are {', '.join(a.classes)} and {', '.join(b.classes)}")
  if a.tracks != b.tracks:
    missing = sorted(set(a.tracks) ^ set(b.tracks))
    raise UserError(
      f"{where}they have {len(a.tracks)} and {len(b.tracks)} tracks, and {len(missing)} that"
      f" only one has, such as {missing[0]}"
    )
  for kind, one, other in (("label", a.labels, b.labels), ("group", a.groups, b.groups)):
    for track, x, y in zip(a.tracks, one, other, strict=True):
      if x != y:
        raise UserError(f"{where}the {kind} of {track} is {x} in the first and {y} in the second")


def _names(systems: list[list[Run]]) -> list[str]:
  """Name each system after its folder, or the common beginning of its folders' names.

  Names that are not unique are numbered.
  """
  names = []
  for runs in systems:
    folders = [run.folder.resolve().name for run in runs]
    common = os.path.commonprefix(folders) if len(folders) > 1 else folders[0]
    if len(folders) > 1:
      common = re.sub(r"[\W_]*(seed[\W_]*\d*)?$", "", common)
    names.append(common or str(runs[0].config["model.name"]))
  return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]


def compare(systems: list[System], pairs=None) -> list[Pair]:
  """Compare pairs of systems on the same tracks.

  Args:
    systems: All systems.
    pairs: The pairs to compare as (system, system); None for every pair, in order.

  Returns:
    One `Pair` per pair, with Holm's correction over all of them.
  """
  run = systems[0].runs[0]
  rows = []
  for a, b in pairs or itertools.combinations(systems, 2):
    interval = significance.paired_difference(a.correct, b.correct, run.groups, run.labels)
    only_a = int((a.ensemble_correct & ~b.ensemble_correct).sum())
    only_b = int((b.ensemble_correct & ~a.ensemble_correct).sum())
    rows.append((a.name, b.name, *interval, only_a, only_b, significance.mcnemar(only_a, only_b)))
  corrected = significance.holm([row[-1] for row in rows])
  return [Pair(*row, float(p)) for row, p in zip(rows, corrected, strict=True)]


def to_markdown(systems: list[System], pairs: list[Pair], split: str) -> str:
  """Write the table of systems and the table of pairs, with notes on how to read them."""
  run = systems[0].runs[0]
  groups = len(set(run.groups))
  lines = [
    f"{len(run.tracks)} tracks of {groups} groups, {split} split of {run.split_config['name']}"
    + (" (LEAKY)" if run.split_config["leaky"] else "")
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
      f"| {100 * system.ensemble_correct.mean():.1f} |"
    )
  lines += [
    "",
    "| A | B | A - B, points [95 %] | only A correct | only B correct | McNemar p | after Holm |",
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
    "A - B is the difference of mean accuracies over seeds on the same tracks. Its interval is"
    " a bootstrap over groups (artists) within genre and over seeds. McNemar's test uses the mean"
    " probabilities of each system's seeds and takes tracks as independent, which tracks of one"
    f" artist are not. Holm's correction is over {len(pairs)} pair{'s' * (len(pairs) > 1)}.",
  ]
  if any(len(system.runs) == 1 for system in systems):
    lines.append(
      "The interval of a system with one seed is too narrow: it contains no variance over seeds."
    )
  if split == "validation":
    lines.append(
      "If train.best_metric is not last, the validation split also chose the checkpoint, and"
      " accuracies on it are too high."
    )
  return "\n".join(lines) + "\n"
