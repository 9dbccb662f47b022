"""Answers as a table for reading: a line a file, of several tags one below the other.

Stands beside `answers.py`, which writes files. Lines are printed as answers come, so that the
widths hang on the names of the classes alone. Where a terminal leaves a file's name no room beside
the other columns, it stands above them.
"""

import itertools
import shutil
import textwrap

from genre_jax.inference.model import Model
from genre_jax.inference.predict_files import Prediction, Span

GENRE_WIDTH, NEXT_WIDTH = 16, 28  # at least
NUMBER_WIDTH = 5  # ' 0.27'
FILE_WIDTH = 20  # at least, or it stands above
MOST_NEXT = 2  # classes that were not said


class PredictionTable:
  """The table of a model's answers.

  Args:
    model: its classes and task are read.
  """

  def __init__(self, model: Model):
    self._several = model.task == "multi_label"
    lengths = sorted(map(len, model.classes), reverse=True)
    self._genre = max(GENRE_WIDTH, lengths[0])
    if self._several:  # next is one below the other too
      self._next = lengths[0] + NUMBER_WIDTH
    else:
      pair = sum(lengths[:MOST_NEXT]) + MOST_NEXT * (NUMBER_WIDTH + len(", ")) - len(", ")
      self._next = max(NEXT_WIDTH, pair)
    self._columns = shutil.get_terminal_size().columns
    self._above = self._columns < len(self._cells("", "", "")) + FILE_WIDTH

  def header(self) -> str:
    """The names of the columns."""
    return self._with_file([self._cells("genre", "confidence", "next")], "file")

  def lines(self, prediction: Prediction) -> str:
    """An answer, with its timeline below it."""
    if prediction.status == "failed":
      return self._with_file(
        [self._cells("failed", "", "")], f"{prediction.file}: {prediction.error}"
      )
    said = self._names(prediction.genre)
    order = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    following = [f"{name} {value:.2f}" for name, value in order if name not in said][:MOST_NEXT]
    if self._several:
      rows = [
        (name, f"{prediction.probabilities.get(name, prediction.confidence):.2f}") for name in said
      ]
    else:
      rows, following = [(prediction.genre, f"{prediction.confidence:.2f}")], [", ".join(following)]
    lines = [
      self._cells(*(row or ("", "")), name or "")
      for row, name in itertools.zip_longest(rows, following)
    ]
    return self._with_file([*lines, *self._timeline(prediction.timeline)], prediction.file)

  def _names(self, genre: str) -> list[str]:
    return genre.split(";") if self._several else [genre]

  def _cells(self, genre: str, confidence: str, following: str) -> str:
    return f"{genre:{self._genre}} {confidence:>10}  {following:{self._next}} "

  def _with_file(self, lines: list[str], file: str) -> str:
    """Lines with the file's name at the end of the first, or above it."""
    lines = [file, *lines] if self._above else [lines[0] + file, *lines[1:]]
    return "\n".join(line.rstrip() for line in lines)

  def _timeline(self, spans: tuple[Span, ...]) -> list[str]:
    """A line for each stretch that is called the same; more where its tags need them."""
    merged: list = []
    for span in spans:
      if merged and merged[-1][2] == span.genre:
        merged[-1][1] = span.end
        merged[-1][3].append(span.confidence)
      else:
        merged.append([span.start, span.end, span.genre, [span.confidence]])
    lines = []
    for start, end, genre, confidences in merged:
      head = f"  {_clock(start)} - {_clock(end)}  {sum(confidences) / len(confidences):.2f}  "
      lines += textwrap.wrap(
        ", ".join(self._names(genre)),
        max(self._columns, 2 * len(head)),
        initial_indent=head,
        subsequent_indent=" " * len(head),
      )
    return lines


def _clock(seconds: float) -> str:
  """'1:02:03' or ' 2:03'."""
  minutes, seconds = divmod(int(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:2}:{seconds:02}"
