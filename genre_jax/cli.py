"""Run a command by name: `genre-jax COMMAND ...` runs the module `genre_jax.COMMAND`."""

import os
import runpy
import signal
import sys

from genre_jax import __version__
from genre_jax.errors import did_you_mean

COMMANDS = {
  "predict": "print the genre of audio files",
  "job": "print the genre of very many files, on several machines too",
  "library": "analyze a music library, write tags, find similar songs",
  "stream": "print the genre of live sound",
  "page": "serve a page for the browser",
  "export": "write a model for use without this package",
  "pretrained": "fetch, pack and list models",
  "main": "train and evaluate an experiment",
  "launch": "train with several processes",
  "prepare": "prepare the spectrograms of an experiment",
  "table": "print evaluated runs as a table",
  "sweep": "train the product of some fields' values",
  "compare": "compare evaluated runs, track by track",
  "protocol": "make the runs and the tables of a study",
  "audit": "find duplicates and damage in a collection",
}

# Commands whose module has another name, because a package has theirs.
MODULES = {"library": "library_command"}


def module_of(command: str) -> str:
  """Return the name of the module of a command."""
  return f"genre_jax.{MODULES.get(command, command)}"


def usage() -> str:
  """Return the list of commands."""
  width = max(map(len, COMMANDS))
  lines = [f"  {name:{width}}  {purpose}" for name, purpose in COMMANDS.items()]
  return "\n".join(
    [
      "usage: genre-jax COMMAND [--help] ...",
      "",
      *lines,
      "",
      "genre-jax COMMAND --help lists the flags of a command.",
    ]
  )


def main() -> None:
  """Run the command that the first argument names; exit with status 2 if it is unknown."""
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # While modules are imported; then `command_line.run` handles Ctrl-C.
    signal.signal(signal.SIGINT, lambda number, _: os._exit(128 + number))
  name, *arguments = sys.argv[1:] or ["--help"]
  if name in ("-h", "--help", "help"):
    print(usage())
    return
  if name == "--version":
    print(f"genre_jax {__version__}")
    return
  if name not in COMMANDS:
    from genre_jax import command_line

    command_line.escape_unprintable()
    print(f"error: there is no command {name!r}{did_you_mean(name, COMMANDS)}", file=sys.stderr)
    print(usage(), file=sys.stderr)
    sys.exit(2)
  sys.argv = [f"genre-jax {name}", *arguments]
  # Run, not imported: worker processes then find the command as `python -m` would name it.
  runpy.run_module(module_of(name), run_name="__main__", alter_sys=True)
