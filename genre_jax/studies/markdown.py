"""Format numbers, paragraphs and tables of the results page."""

import textwrap
from collections.abc import Iterable
from typing import Any

WIDTH = 100  # of lines outside tables


def number(value: float | None, digits: int, *, scale: float = 1.0, sign: str = "") -> str:
  """Return a number with fixed digits; '-' for None."""
  return "-" if value is None else format(scale * value, f"{sign}.{digits}f")


def interval(metric: dict[str, Any], digits: int, *, scale: float = 1.0, sign: str = "") -> str:
  """Return a metric with its interval.

  Args:
    metric: value, and ci95 with both ends; each may be None.
    digits: Digits after the point.
    scale: Factor of all numbers.
    sign: '+' shows the sign of positive numbers.

  Returns:
    For example '0.487 [0.435, 0.543]', or '-' without a value.
  """
  text = number(metric["value"], digits, scale=scale, sign=sign)
  if metric["value"] is None or None in metric["ci95"]:
    return text
  low, high = (number(end, digits, scale=scale, sign=sign) for end in metric["ci95"])
  return f"{text} [{low}, {high}]"


def percent(metric: dict[str, Any], sign: str = "") -> str:
  """Return a share with its interval in percent, as '72.5 [61.2, 82.2]'."""
  return interval(metric, 1, scale=100.0, sign=sign)


def paragraphs(*texts: str, separator: str = "\n\n") -> str:
  """Return texts in lines of at most WIDTH characters; a list item is indented."""
  return separator.join(
    textwrap.fill(
      text,
      WIDTH,
      subsequent_indent="  " if text.startswith("- ") else "",
      break_long_words=False,
      break_on_hyphens=False,
    )
    for text in texts
  )


def table(heads: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
  """Return a Markdown table, without a line break at its end."""
  heads = list(heads)
  lines = [heads, ["---"] * len(heads), *(list(row) for row in rows)]
  return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
