"""Read a CSV or JSON lines file of predictions in order to continue it.

The last line may be incomplete after a crash. A spreadsheet may have saved the file with a
byte-order mark, other line ends, other separators or decimal commas.
"""

import csv
import io
import json
import pathlib

from genre_jax.data.tables import header_place
from genre_jax.data.text_encodings import text_encoding
from genre_jax.errors import UserError
from genre_jax.inference.output_file import OPTIONAL_COLUMNS, not_predictions, other_columns
from genre_jax.inference.prediction_rows import Row, track_rows

TEXT_COLUMNS = ("file", "status", "model", "genre", "error", "note")


def csv_text(rows: list[list[str]]) -> str:
  """Return rows as the lines of a CSV file."""
  text = io.StringIO()
  csv.writer(text, lineterminator="\n").writerows(rows)
  return text.getvalue()


def read_earlier(
  path: pathlib.Path, kind: str, names: list[str], timeline: bool
) -> tuple[dict[str, Row], str, str]:
  """Read a file that earlier commands wrote.

  Args:
    path: The file.
    kind: 'csv' or 'jsonl'.
    names: The columns.
    timeline: Whether predictions have a timeline.

  Returns:
    ({file: row of the track}, the text of the complete predictions as this program writes them, the
    text of the file, or '' if its bytes are not that text in UTF-8).

  Raises:
    UserError: If the file contains something else, or has other columns.
    OSError: If it cannot be read.
  """
  raw = path.read_bytes()
  text = _decode(path, raw)
  if not text:
    return {}, "", ""
  try:
    if kind == "csv":
      rows, kept = _csv_rows(path, text, names, timeline)
    else:
      rows, kept = _json_rows(path, text, names, timeline)
    tracks = track_rows({**row, "confidence": float(row["confidence"] or 0)} for row in rows)
  except UserError:
    raise
  except Exception as error:  # a line that this program did not write can be anything
    raise not_predictions(path, error) from error
  return tracks, kept, text if text.encode() == raw else ""


def _decode(path: pathlib.Path, raw: bytes) -> str:
  """Return the text of a file without a byte-order mark."""
  if b"\0" not in raw.rstrip(b"\0"):
    raw = raw.rstrip(b"\0")  # a crash of the machine may leave zeros at the end
  lines, end, last = raw.rpartition(b"\n")
  try:  # the last line may end inside a character
    text = (lines + end).decode("utf-8") + last.decode("utf-8", "ignore")
  except UnicodeDecodeError:
    text = raw.decode(text_encoding(path)[0], "ignore")
  return text.removeprefix("\ufeff")


def _csv_rows(
  path: pathlib.Path, text: str, names: list[str], timeline: bool
) -> tuple[list[Row], str]:
  """Return the rows of tracks, and the text of the complete predictions."""
  ours = csv_text([names])
  if "\n" not in text and "\r" not in text:  # not even the header is complete
    if not ours.startswith(text):
      raise not_predictions(path, "its only line is not a prediction")
    return [], ""
  file = io.StringIO(text, newline="")
  separator, skipped = header_place(file, names)
  file.seek(0)
  for _ in range(skipped):
    file.readline()
  cells = [row for row in csv.reader(file, delimiter=separator) if any(row)]
  if not cells:
    raise ValueError("it has no line of columns")
  header = [name.strip() for name in cells[0]]
  while header and not header[-1]:
    header.pop()
  missing = [name for name in names if name not in header]
  if (
    set(header) - set(names) or len(set(header)) < len(header) or set(missing) - {*OPTIONAL_COLUMNS}
  ):
    raise other_columns(path)
  needed = 1 + max(
    header.index(name) for name in header if name not in (*OPTIONAL_COLUMNS, "error")
  )
  foreign = separator != "," or "\r" in text
  open_quote = text.count('"') % 2 == 1
  ends = foreign or text.endswith("\n")  # a spreadsheet may leave out the last end of a line
  rows: list[list[str]] = []
  for number, row in enumerate(cells[1:], 2):
    is_last = number == len(cells)
    if is_last and (open_quote or not ends):
      break
    if any(row[len(header) :]) or len(row) < (needed if foreign else len(header)):
      if is_last:
        break
      raise ValueError("the number of values in a row differs from the number of columns")
    known = dict(zip(header, row, strict=False))
    rows.append([_as_written(name, known.get(name, "")) for name in names])
  if timeline and rows:  # spans of the last track may be missing
    last_file = rows[-1][names.index("file")]
    rows = [row for row in rows if row[names.index("file")] != last_file]
  found = [dict(zip(names, row, strict=True)) for row in rows]
  return [row for row in found if not row.get("start")], ours + csv_text(rows)


def _as_written(name: str, cell: str) -> str:
  """Return a cell as this program writes it: numbers with a decimal point."""
  if name in TEXT_COLUMNS or not cell:
    return cell
  number = cell.strip().replace(",", ".")
  float(number)
  return number


def _json_rows(
  path: pathlib.Path, text: str, names: list[str], timeline: bool
) -> tuple[list[Row], str]:
  """Return the rows, and the text of the complete predictions."""
  lines = [line.rstrip("\r") for line in text.split("\n")]
  last = lines.pop()  # '' if the last line is complete
  if not lines and not '{"file": '.startswith(last[:9]):
    raise not_predictions(path, "its only line is not a prediction")
  rows = [(json.loads(line), line) for line in lines if line.strip()]
  try:
    rows.append((json.loads(last), last))
  except ValueError:
    pass  # incomplete
  known = {*names, *OPTIONAL_COLUMNS, "timeline"} - {"start", "end"}
  for row, _ in rows:
    if set(row) - known or ("timeline" in row) != timeline:
      raise other_columns(path)
  return [row for row, _ in rows], "".join(f"{line}\n" for _, line in rows)
