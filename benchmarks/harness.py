"""Types that a benchmark suite is made of: contenders that do the same task, and their outcome.

A module of `benchmarks/suites` defines

    TITLE        the task, as a heading
    TARGET       the target, in words
    THREADS      ("one",), ("all",) or both
    CONTENDERS   {name: Contender}
    REPEATS      optional: upper limit of the interleaved runs, for slow tasks
    NOTES        optional: anchor of the section of docs/results/speed-notes.md about this suite
    remarks(outcomes)  optional: lines below the table, from {(case, threads): Outcome}

A suite without interleaved runs defines TITLE, TARGET and `report(options)`, which measures and
returns Markdown. A suite must be importable in every environment: each contender imports its
packages in its setup.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
# Virtual environments, relative to the repository's root.
ENVIRONMENTS = {
  "genre_jax": os.environ.get("GENRE_JAX_VENV", ".venv"),
  "peers": ".venv-bench",
  "onnx": ".venv-onnx",
}
ROLES = ("ours", "peer", "floor")


@dataclasses.dataclass(frozen=True)
class Contender:
  """One program that does a suite's task.

  Attributes:
    environment: a key of ENVIRONMENTS.
    setup: loads and warms up, and returns a function. The function does the task once, completely,
      and returns its output, or None if the output cannot be compared. Files that either creates
      in `tempfile.mkdtemp()` are deleted after the comparison.
    tolerance: largest allowed absolute difference from the output of our first contender of the
      case.
    role: 'ours', 'peer', or 'floor' for a part of the task, which bounds what is possible.
    case: contenders of one case run interleaved and are compared.
  """

  environment: str
  setup: Callable[[], Callable[[], np.ndarray | None]]
  tolerance: float = 0.0
  role: str = "peer"
  case: str = ""


@dataclasses.dataclass(frozen=True)
class Options:
  """Sizes of the suites that have a `report`; small sizes check that the program works.

  Attributes:
    folder: temporary folder, deleted afterwards.
    plots: folder of the PNG files.
    clips: number of clips that the memory suite prepares.
    hours: length of the file that the memory suite predicts.
    scale: factor on the sizes of the growth suites.
    repeats: number of repetitions, as for comparisons.
    data: folder of GTZAN; empty for that of GENRE_JAX_DATA.
  """

  folder: pathlib.Path
  plots: pathlib.Path
  clips: int = 10_000
  hours: float = 10.0
  scale: float = 1.0
  repeats: int = 9
  data: str = ""


@dataclasses.dataclass
class Outcome:
  """Measurements of one case with one number of threads.

  Attributes:
    times: seconds of each contender's runs; entry i of all contenders is from the same round.
    differences: largest differences from our first contender, for outputs that are compared.
    failures: reasons, for contenders without times.
    roles: role of each contender, in order.
  """

  times: dict[str, list[float]] = dataclasses.field(default_factory=dict)
  differences: dict[str, float] = dataclasses.field(default_factory=dict)
  failures: dict[str, str] = dataclasses.field(default_factory=dict)
  roles: dict[str, str] = dataclasses.field(default_factory=dict)

  def ratio(self, a: str, b: str) -> np.ndarray | None:
    """Return float[3], quartiles of time of `a` / time of `b` per round; None if one failed."""
    if a not in self.times or b not in self.times:
      return None
    pairs = np.array(list(zip(self.times[a], self.times[b], strict=True)))
    return np.percentile(pairs[:, 0] / pairs[:, 1], (25, 50, 75))

  def first_of_ours(self) -> str | None:
    """Return our contender that all others are compared with, or None if it has no times."""
    first = next((name for name, role in self.roles.items() if role == "ours"), None)
    return first if first in self.times else None

  def best(self, role: str) -> str | None:
    """Return the contender of a role with the lowest median, or None if the role has no times."""
    measured = [name for name in self.times if self.roles[name] == role]
    return min(measured, key=lambda name: np.median(self.times[name]), default=None)


def cores() -> int:
  """Return the number of cores that this process may use; peers set their threads to it."""
  return len(os.sched_getaffinity(0))


def format_ratio(ratio: np.ndarray | None) -> str:
  """Return '1.52 [1.49, 1.60]': median and quartiles."""
  if ratio is None:
    return "not measured"
  low, median, high = ratio
  return f"{median:.2f} [{low:.2f}, {high:.2f}]"
