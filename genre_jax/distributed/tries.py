"""Find the file that ends the process which predicts a partition.

A decoder that crashes costs one row, because it runs in a process of its own. What ends the process
above it, such as the lack of memory of a machine, would end each further try as well. So a process
notes in `tries/NUMBER` what it begins: `start`, then the number of each file that it predicts
alone. After two unfinished tries a partition is predicted file by file. A file that was begun last
in two tries is not tried again.

The notes are on the disk of the job, so that they outlive the process, the machine and the
command.
"""

import contextlib
import os
import pathlib

MOST_TRIES = 2  # of a whole partition, and of a file alone
START = "start"


class Tries:
  """The notes on the tries of one partition; creating it begins a try.

  Args:
    path: File of the notes; its folder exists.

  Attributes:
    file_by_file: Whether files are to be predicted alone.
    deadly: Numbers of the files that ended the process MOST_TRIES times.

  Raises:
    OSError: If the notes cannot be written.
  """

  def __init__(self, path: pathlib.Path):
    self._path = path
    before = _last_notes(path)
    begun = [note for note in before if note != START]
    self.file_by_file = len(before) >= MOST_TRIES
    self.deadly = {int(note) for note in begun if begun.count(note) >= MOST_TRIES}
    self._note(START)

  def begin(self, number: int) -> None:
    """Note that a file is predicted alone, by its number in the partition."""
    self._note(str(number))

  def end(self) -> None:
    """Delete the notes of a finished partition."""
    with contextlib.suppress(FileNotFoundError):
      self._path.unlink()

  def _note(self, text: str) -> None:
    with open(self._path, "a", encoding="ascii") as file:
      file.write(f"{text}\n")
      file.flush()
      os.fsync(file.fileno())


def _last_notes(path: pathlib.Path) -> list[str]:
  """Return the last note of each earlier try; notes of another kind are left out."""
  last: list[str] = []
  try:
    lines = path.read_bytes().decode("ascii", "replace").split("\n")
  except FileNotFoundError:
    return last
  for line in lines:
    if line == START:
      last.append(START)
    elif last and line.isdecimal() and len(line) <= 9:
      last[-1] = line
  return last
