"""Draw the differences between systems as a forest plot."""

import pathlib

import numpy as np

from genre_jax.evaluation.comparison import Pair


def forest_plot(pairs: list[Pair], path: pathlib.Path) -> None:
  """Draw the differences in accuracy with their intervals, as PATH.png and PATH.svg.

  Args:
    pairs: Compared pairs, drawn from top to bottom.
    path: File without suffix.
  """
  from matplotlib.figure import Figure  # here, because only drawing needs it

  figure = Figure(figsize=(7, 1.3 + 0.45 * len(pairs)), layout="constrained")
  axes = figure.add_subplot()
  rows = np.arange(len(pairs))[::-1]
  middle = 100 * np.array([pair.difference for pair in pairs])
  ends = 100 * np.array([[pair.low, pair.high] for pair in pairs]).T
  axes.axvline(0, color="0.5", linewidth=1)
  axes.errorbar(middle, rows, xerr=np.abs(ends - middle), fmt="s", color="#0072B2", capsize=3)
  axes.set_yticks(rows, [f"{pair.a}\nminus {pair.b}" for pair in pairs])
  axes.set_ylim(-0.6, len(pairs) - 0.4)
  reach = 1.1 * np.nanmax(np.abs(ends), initial=1.0)
  axes.set_xlim(-reach, reach)
  axes.set_xlabel("difference in track accuracy in percentage points, with 95 % interval")
  right = axes.secondary_yaxis("right")
  right.set_yticks(
    rows,
    [
      f"{pair.difference * 100:+.1f} [{pair.low * 100:+.1f}, {pair.high * 100:+.1f}]"
      for pair in pairs
    ],
  )
  for spine in (axes.spines["top"], axes.spines["right"], right.spines["right"]):
    spine.set_visible(False)
  right.tick_params(length=0)
  for suffix in ("png", "svg"):
    figure.savefig(path.with_suffix(f".{suffix}"), dpi=150)
