"""What a work to be measured is made of: contestants that do the same, and what came out.

A module of `benchmarks/suites` defines

    TITLE        what is done, as a heading
    TARGET       what is to be reached, in words
    THREADS      ("one",), ("all",) or both
    CONTESTANTS  {name: Contestant}
    REPEATS      optional: at most so many turns, of long works
    NOTES        optional: the section of `NOTES.md` with what was tried for it, as a link has it
    remarks(outcomes)  optional: lines below the table, of {(case, threads): Outcome}

or, where nothing takes turns, TITLE, TARGET and `report(options)`, which measures by itself and
returns Markdown. A work must be importable in every environment: what a contestant needs, it
imports in its setup.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
# Each environment's Python, from the repository's root.
ENVIRONMENTS = {
  "genre_jax": os.environ.get("GENRE_JAX_VENV", ".venv"),
  "peers": ".venv-bench",
  "onnx": ".venv-onnx",
}
ROLES = ("ours", "peer", "floor")


@dataclasses.dataclass(frozen=True)
class Contestant:
  """One way to do the work.

  Attributes:
    environment: a name of ENVIRONMENTS.
    setup: loads and warms up; the function that it returns does the work once, to its end, and
      gives the output, or None where it has none that compares. What either leaves in
      `tempfile.mkdtemp()` is deleted when the contest is over.
    tolerance: largest absolute difference from the output of our first contestant of the case.
    role: 'ours', 'peer', or 'floor' for a part of the work that shows what can be reached.
    case: contestants of one case take turns and are compared.
  """

  environment: str
  setup: Callable[[], Callable[[], np.ndarray | None]]
  tolerance: float = 0.0
  role: str = "peer"
  case: str = ""


@dataclasses.dataclass(frozen=True)
class Options:
  """Sizes of works that measure by themselves; small ones show that the program works.

  Attributes:
    folder: scratch, deleted afterwards.
    plots: where PNG files go.
    clips: how many are prepared for the memory.
    hours: of the file that is predicted for the memory.
    scale: shortens growth: sizes are multiplied by it.
    repeats: as of contests.
  """

  folder: pathlib.Path
  plots: pathlib.Path
  clips: int = 10_000
  hours: float = 10.0
  scale: float = 1.0
  repeats: int = 9


@dataclasses.dataclass
class Outcome:
  """What one case with one number of threads gave.

  Attributes:
    times: seconds of each contestant's turns; every turn of one has its counterpart in the others.
    differences: from our first contestant, of those that are compared.
    failures: reasons of those that have no times.
    roles: of each contestant, in order.
  """

  times: dict[str, list[float]] = dataclasses.field(default_factory=dict)
  differences: dict[str, float] = dataclasses.field(default_factory=dict)
  failures: dict[str, str] = dataclasses.field(default_factory=dict)
  roles: dict[str, str] = dataclasses.field(default_factory=dict)

  def ratio(self, a: str, b: str) -> np.ndarray | None:
    """Quartiles of time of `a` / time of `b` in the same round, float[3]; None if one failed."""
    if a not in self.times or b not in self.times:
      return None
    pairs = np.array(list(zip(self.times[a], self.times[b], strict=True)))
    return np.percentile(pairs[:, 0] / pairs[:, 1], (25, 50, 75))

  def first_of_ours(self) -> str | None:
    """Our contestant with whose output all are compared, if it has times."""
    first = next((name for name, role in self.roles.items() if role == "ours"), None)
    return first if first in self.times else None

  def best(self, role: str) -> str | None:
    """The contestant of a role with the lowest median."""
    there = [name for name in self.times if self.roles[name] == role]
    return min(there, key=lambda name: np.median(self.times[name]), default=None)


def cores() -> int:
  """How many cores this process may use; peers set their threads by it."""
  return len(os.sched_getaffinity(0))


def format_ratio(ratio: np.ndarray | None) -> str:
  """'1.52 [1.49, 1.60]': median and quartiles."""
  if ratio is None:
    return "not measured"
  low, median, high = ratio
  return f"{median:.2f} [{low:.2f}, {high:.2f}]"
