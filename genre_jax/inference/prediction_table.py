"""Format predictions as a table for the terminal.

Lines are printed while files are predicted, so column widths depend on the class names alone. If a
terminal is too narrow, the file name gets its own line above the prediction.
"""

import itertools
import shutil
import textwrap

from genre_jax.inference.model import Model
from genre_jax.inference.predict_files import Prediction, Span

MIN_GENRE_WIDTH, MIN_NEXT_WIDTH = 16, 28
PROBABILITY_WIDTH = 5  # ' 0.27'
MIN_FILE_WIDTH = 20  # with less space, the file gets its own line
NUM_NEXT = 2  # classes in the column 'next', the most probable ones below the prediction


class PredictionTable:
  """Format the predictions of a model: one line per file, or one line per tag.

  Args:
    model: The model, whose classes and task are read.
  """

  def __init__(self, model: Model):
    self._multi_label = model.task == "multi_label"
    lengths = sorted(map(len, model.classes), reverse=True)
    self._genre_width = max(MIN_GENRE_WIDTH, lengths[0])
    if self._multi_label:  # one class per line in 'next' as well
      self._next_width = lengths[0] + PROBABILITY_WIDTH
    else:
      pair = sum(lengths[:NUM_NEXT]) + NUM_NEXT * (PROBABILITY_WIDTH + len(", ")) - len(", ")
      self._next_width = max(MIN_NEXT_WIDTH, pair)
    self._terminal_width = shutil.get_terminal_size().columns
    self._file_above = self._terminal_width < len(self._cells("", "", "")) + MIN_FILE_WIDTH

  def header(self) -> str:
    """Return the column names."""
    return self._with_file([self._cells("genre", "confidence", "next")], "file")

  def lines(self, prediction: Prediction) -> str:
    """Return a prediction, followed by its timeline."""
    if prediction.status == "failed":
      return self._with_file(
        [self._cells("failed", "", "")], f"{prediction.file}: {prediction.error}"
      )
    labels = self._labels(prediction.genre)
    order = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    following = [f"{name} {value:.2f}" for name, value in order if name not in labels][:NUM_NEXT]
    if self._multi_label:
      rows = [
        (name, f"{prediction.probabilities.get(name, prediction.confidence):.2f}")
        for name in labels
      ]
    else:
      rows, following = [(prediction.genre, f"{prediction.confidence:.2f}")], [", ".join(following)]
    lines = [
      self._cells(genre, confidence, name or "")
      for (genre, confidence), name in itertools.zip_longest(
        rows + [("", "")] * (len(following) - len(rows)), following
      )
    ]
    if prediction.note:
      lines.append(f"  note: {prediction.note}")
    return self._with_file([*lines, *self._timeline(prediction.timeline)], prediction.file)

  def _labels(self, genre: str) -> list[str]:
    return genre.split(";") if self._multi_label else [genre]

  def _cells(self, genre: str, confidence: str, following: str) -> str:
    return f"{genre:{self._genre_width}} {confidence:>10}  {following:{self._next_width}} "

  def _with_file(self, lines: list[str], file: str) -> str:
    """Return lines with the file name at the end of the first, or on a line above it."""
    lines = [file, *lines] if self._file_above else [lines[0] + file, *lines[1:]]
    return "\n".join(line.rstrip() for line in lines)

  def _timeline(self, spans: tuple[Span, ...]) -> list[str]:
    """Return a line for each run of spans with the same label; long lists of tags are wrapped."""
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
        ", ".join(self._labels(genre)),
        max(self._terminal_width, 2 * len(head)),
        initial_indent=head,
        subsequent_indent=" " * len(head),
      )
    return lines


def _clock(seconds: float) -> str:
  """Return a time as '1:02:03' or ' 2:03'."""
  minutes, seconds = divmod(int(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:2}:{seconds:02}"
