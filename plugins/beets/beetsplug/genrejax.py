"""Set the genres of beets items from their sound, by the program genre-jax.

The program runs as a process of its own, once for many files: it needs JAX, which the environment
of beets may not have.
"""

import csv
import json
import os
import subprocess
import tempfile
from collections import Counter

from beets import plugins, ui
from beets.dbcore import types

ARGUMENT_BYTES = 100_000  # of the paths of one process; operating systems allow more
DONE = (0, 1)  # exit statuses of `predict`: 1 if some files failed


class Failed(Exception):
  """genre-jax cannot be used; the message is one line."""


class GenreJaxPlugin(plugins.BeetsPlugin):
  """The import stage, and the command `beet genrejax`."""

  item_types = {"genrejax_confidence": types.FLOAT}

  def __init__(self):
    super().__init__()
    self.config.add(
      {
        "command": "genre-jax",
        "model": "",
        "min_confidence": 0.5,
        "max_genres": 1,
        "auto": True,
        "force": False,
      }
    )
    if self.config["auto"].get(bool):
      self.import_stages = [self.imported]

  def commands(self):
    """Return the command `genrejax`."""
    command = ui.Subcommand("genrejax", help="set genres from the sound of the files")
    command.parser.add_option(
      "-p", "--pretend", action="store_true", default=False, help="print genres, change nothing"
    )
    command.parser.add_option(
      "-f", "--force", action="store_true", default=None, help="replace existing genres too"
    )
    command.func = self._command
    return [command]

  def _command(self, lib, options, arguments):
    """Run `beet genrejax [QUERY]`."""
    self.config.set_args({"force": options.force} if options.force else {})
    try:
      self._process(list(lib.items(arguments)), ui.should_write(), options.pretend)
    except Failed as error:
      raise ui.UserError(f"genrejax: {error}") from error

  def imported(self, session, task):
    """Set the genres of the items of an import; beets writes the files afterwards."""
    try:
      self._process(list(task.imported_items()), write=False)
    except Failed as error:  # must not end the import
      self._log.warning("{}", error)

  def _process(self, items, write, pretend=False):
    """Set the genres of items that have none, and of their albums.

    Args:
      items: Items of the library.
      write: Also write the files.
      pretend: Print genres only.

    Raises:
      Failed: If genre-jax cannot be used.
    """
    force = self.config["force"].get(bool)
    todo = [item for item in items if force or not item.get("genres", with_album=False)]
    if len(todo) < len(items):
      self._log.debug("{} items have genres already", len(items) - len(todo))
    albums = {}
    for item, row in self._predictions(todo):
      found = self._genres(row)
      if not found:
        continue
      genres = [genre for genre, _ in found]
      ui.print_(f"{found[0][1]:.2f}  {', '.join(genres)}  {item}")
      if pretend:
        continue
      item.genres = genres
      item["genrejax_model"] = row["model"]
      item["genrejax_confidence"] = found[0][1]
      item.try_sync(write=write, move=False)
      if item.album_id:
        albums[item.album_id] = item.get_album()
    for album in albums.values():
      self._set_album(album, force)

  def _set_album(self, album, force):
    """Give an album without genres the most frequent ones of its items."""
    if album.genres and not force:
      return
    counts = Counter(tuple(item.get("genres", with_album=False) or ()) for item in album.items())
    del counts[()]
    if counts:
      album.genres = list(counts.most_common(1)[0][0])
      album.store(inherit=False)

  def _predictions(self, items):
    """Yield (item, row of `genre-jax predict`) of the items that could be read."""
    model = self.config["model"].as_str()
    flags = ["--format=jsonl", *([f"--model={os.path.expanduser(model)}"] if model else [])]
    for part in _parts(items):
      waiting = {_printable(item.path): item for item in part}
      for line in self._lines(["predict", *flags, "--", *(item.path for item in part)]):
        try:
          row = json.loads(line)
          item = waiting.pop(row["file"], None)
        except (ValueError, KeyError, TypeError) as error:
          raise Failed(f"{self._program()}: its output is not that of genre-jax predict") from error
        if item and row["status"] == "ok":
          yield item, row
        elif item:
          self._log.warning("{}: {}", row["file"], row["error"])
      for path in waiting:
        self._log.warning("{}: genre-jax gave no prediction", path)

  def _genres(self, row):
    """Return [(genre, confidence)] to store for a row of `predict`; [] for none."""
    sure = [(row[f"p_{label}"], label) for label in row["genre"].split(";") if f"p_{label}" in row]
    least = self.config["min_confidence"].as_number()
    sure = sorted(((p, label) for p, label in sure if p >= least), reverse=True)
    if not sure:
      self._log.debug("{}: confidence below {}", row["file"], least)
      return []
    names = self._names([label for _, label in sure])
    if not names[sure[0][1]]:
      self._log.debug("{}: {} is no genre", row["file"], sure[0][1])
      return []
    found = {}  # two labels may have one name
    for confidence, label in sure:
      if names[label]:
        found.setdefault(names[label], confidence)
    return list(found.items())[: self.config["max_genres"].get(int)]

  def _names(self, labels):
    """Return {label: genre} with the names that `genre-jax library tag` writes; '' for none."""
    known = self.__dict__.setdefault("_known_names", {})
    if new := [label for label in labels if label not in known]:
      table = csv.DictReader(self._lines(["library", "names", "--", *new]))
      known.update({row["label"]: row["tag"] for row in table})
      if any(label not in known for label in new):
        raise Failed(f"{self._program()}: `library names` is missing; update genre_jax")
    return known

  def _program(self):
    return os.path.expanduser(self.config["command"].as_str())

  def _lines(self, arguments):
    """Yield the lines that genre-jax prints.

    Raises:
      Failed: If it cannot be started, or its exit status is that of an error.
    """
    with tempfile.TemporaryFile() as errors:
      try:
        process = subprocess.Popen(
          [self._program(), *arguments],
          stdin=subprocess.DEVNULL,
          stdout=subprocess.PIPE,
          stderr=errors,
          encoding="utf-8",
          errors="replace",
        )
      except OSError as error:
        raise Failed(
          f"{self._program()} cannot be started ({error.strerror}): set `command` in the section"
          " genrejax of the configuration to the path of genre-jax"
        ) from error
      with process:
        try:
          yield from process.stdout
        except BaseException:  # Ctrl-C, or the reader has failed
          process.terminate()
          raise
      if process.returncode not in DONE:
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").strip().splitlines()
        reason = said[-1].removeprefix("error: ") if said else "no message"
        raise Failed(f"{self._program()} ended with status {process.returncode}: {reason}")


def _parts(items):
  """Yield lists of items whose paths fit on one command line."""
  part, size = [], 0
  for item in items:
    if part and size + len(item.path) > ARGUMENT_BYTES:
      yield part
      part, size = [], 0
    part.append(item)
    size += len(item.path) + 1
  if part:
    yield part


def _printable(path):
  """Return a path as `genre-jax predict` prints it."""
  text = path.decode("utf-8", "backslashreplace")
  return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
