"""Parse flags, report user errors, handle signals and set the exit status of every command."""

import contextlib
import errno
import io
import logging
import math
import os
import pathlib
import re
import signal
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from absl import app, flags
from absl import logging as absl_logging

from genre_jax.errors import Interrupted, UserError, did_you_mean, missing_extra

if TYPE_CHECKING:
  from ml_collections import ConfigDict

# Packages of the optional extras, by the name of their module.
EXTRAS = {
  "fastapi": ("fastapi", "web"),
  "matplotlib": ("matplotlib", "report"),
  "ml_collections": ("ml_collections", "train"),
  "mutagen": ("mutagen", "library"),
  "optax": ("optax", "train"),
  "orbax": ("orbax-checkpoint", "train"),
  "sklearn": ("scikit-learn", "train"),
  "tensorflow": ("tensorflow-cpu", "train"),
  "tensorflow_datasets": ("tensorflow-datasets", "train"),
  "uvicorn": ("uvicorn", "web"),
}
# An unknown flag that is rather the name of a file, such as -dash.mp3.
LIKE_A_FILE = re.compile(r"-(?!-?config\.)[^=]*\.\w{2,5}", re.DOTALL)
# Commands that take a flag, in its description: "tag, undo: ...", "predict --engine=ray: ...". absl
# puts the values of an enumeration, as "<none|all>: ", before it.
COMMANDS_OF_FLAG = re.compile(r"(?:^|\. |>: )([a-z]+(?:, [a-z]+)*)(?: --\S+)?: ")
INSTALLED_EXPERIMENTS = pathlib.Path(__file__).parent / "experiments"


def _find_experiment(argument: str) -> str:
  """Return an argument with the installed path of an experiment that this folder does not have.

  `--config=experiments/tf_split.py` then also works outside a checkout.
  """
  prefix = "--config=" if argument.startswith("--config=") else ""
  path, colon, rest = argument.removeprefix(prefix).partition(":")
  if os.path.dirname(path) != "experiments" or os.path.exists(path):
    return argument
  installed = INSTALLED_EXPERIMENTS / os.path.basename(path)
  return f"{prefix}{installed}{colon}{rest}" if installed.is_file() else argument


def _parse(argv: list[str]) -> list[str]:
  """Parse flags.

  Raises:
    UserError: If a flag or config field is wrong. The message names the flag and the nearest field.
  """
  if "config" in flags.FLAGS:
    argv = [_find_experiment(argument) for argument in argv]
  try:
    rest = flags.FLAGS(argv)
  except (AttributeError, KeyError) as error:
    text = str(error.args[0])
    for old, new in (("\\n", "; "), ("\n", "; "), ("\\'", ""), ("'", ""), ('"', "")):
      text = text.replace(old, new)
    raise UserError(f"no such config field: {text[0].lower() + text[1:]}") from error
  except Exception as error:  # a config file is Python code, which can raise anything
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kind = "" if isinstance(error, flags.Error) else f"{type(error).__name__}: "
    message = kind + " ".join(dict.fromkeys(lines[:1] + lines[-1:]))
    raise UserError(message + _hint_at_dash(argv)) from error
  for name in flags.FLAGS:
    value = flags.FLAGS[name].value
    if isinstance(value, float) and math.isnan(value):
      raise UserError(f"--{name}=nan: give a number")
  return rest


def _hint_at_dash(argv: list[str]) -> str:
  """Return what to do if an argument that begins with a dash looks like a file, else ''."""
  for argument in argv[1 : argv.index("--") if "--" in argv else None]:
    if LIKE_A_FILE.fullmatch(argument) or (argument[:1] == "-" and os.path.lexists(argument)):
      return f"; for a file whose name begins with a dash write ./{argument}, or -- before it"
  return ""


def define_config() -> flags.FlagHolder:
  """Define --config and one flag for each field of the config."""
  try:
    from ml_collections import config_flags
  except ModuleNotFoundError:  # at the import of a command, so that `run` is not there to print it
    print(f"error: {missing_extra('this command', 'ml_collections', 'train')}", file=sys.stderr)
    sys.exit(2)

  return config_flags.DEFINE_config_file(
    "config", None, "Config file of the experiment, as experiments/tf_split.py.", lock_config=True
  )


def experiment(argv: list[str], config: flags.FlagHolder) -> "tuple[ConfigDict, str]":
  """Return the config that the flags specify, and its name.

  Args:
    argv: Arguments that are left after flags were parsed; the first is the program.
    config: The flag from `define_config`.

  Raises:
    UserError: If --config is missing, cannot be loaded, or an argument is not a flag.
  """
  from ml_collections import config_flags

  if len(argv) > 1:
    raise UserError(f"unexpected argument {argv[1]!r}: flags begin with --")
  if config.value is None:
    raise UserError("--config is missing: give a config file, as --config=experiments/tf_split.py")
  path = config_flags.get_config_filename(flags.FLAGS["config"])
  try:
    config.value.lock()
  except OSError as error:
    reason = str(error).strip().splitlines()[-1].strip()
    raise UserError(f"--config={path} cannot be loaded: {reason}") from error
  return config.value, pathlib.Path(path.split(":")[0]).stem


def choose(commands: dict[str, Callable], group: str, argv: list[str]) -> Callable:
  """Return the command of a group that the first argument names.

  The description of a flag that only some commands of the group take begins with their names and a
  colon, and so may further sentences.

  Raises:
    UserError: If the name is missing or unknown, or a flag was given that the command does not
      take.
  """
  if len(argv) < 2:
    raise UserError(f"give a command: {', '.join(commands)}")
  if argv[1] not in commands:
    raise UserError(
      f"there is no command {group} {argv[1]}{did_you_mean(argv[1], commands)}; there are:"
      f" {', '.join(commands)}"
    )
  for name in (name for name in flags.FLAGS if flags.FLAGS[name].present):
    takers = COMMANDS_OF_FLAG.findall(flags.FLAGS[name].help or "")
    of_flag = [command for names in takers for command in names.split(", ") if command in commands]
    if of_flag and argv[1] not in of_flag:
      raise UserError(
        f"{group} {argv[1]} does not take --{name}, which is of {group} {' and '.join(of_flag)}:"
        " remove it"
      )
  return commands[argv[1]]


def _terminate(number, _) -> None:
  """Handle SIGTERM as Ctrl-C: stop worker processes and keep finished work."""
  raise KeyboardInterrupt(number)


@contextlib.contextmanager
def ctrl_c_ends() -> Iterator[None]:
  """Let Ctrl-C end the block as its regular end; SIGTERM still ends the command."""
  try:
    yield
  except KeyboardInterrupt as error:
    if error.args:  # SIGTERM
      raise


def escape_unprintable() -> None:
  """Let standard output and error escape characters that the terminal's encoding lacks."""
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors="backslashreplace")


def run(main: Callable[[list[str]], int | None]) -> None:
  """Run a command and exit the process.

  The exit status is 0 or what `main` returns, 2 for a UserError, which prints its message without a
  traceback, or an error of a file, and 128 + number for a signal.

  Args:
    main: Takes the arguments that are left after flags were parsed; returns an exit status or None.
  """
  signal.signal(signal.SIGTERM, _terminate)
  # Python sets a stream to None if it was closed before the start, as `>&-` does.
  for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
    if getattr(sys, name) is None:
      setattr(sys, name, open(os.devnull, mode))
  escape_unprintable()
  # TensorFlow reads these at its first import; without them it logs its start on standard error.
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
  # Otherwise TensorFlow imports all of Keras, which nothing here uses: half of its start.
  os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
  # orbax logs every file that it touches. Its errors also reach the caller as exceptions.
  absl_logging.set_verbosity(absl_logging.FATAL)
  logging.getLogger("absl").setLevel(logging.CRITICAL)
  # JAX logs which accelerators are absent. XLA logs that 'prefer-no-gather' is not a CPU feature
  # whenever it reads its cache. Errors that matter are raised as exceptions as well.
  logging.getLogger("jax").setLevel(logging.CRITICAL)
  try:
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
      signal.signal(signal.SIGINT, signal.default_int_handler)
    app.run(main, flags_parser=_parse)
  except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
  except ModuleNotFoundError as error:
    package, extra = EXTRAS.get((error.name or "").split(".")[0], ("", ""))
    if not package:
      raise
    print(f"error: {missing_extra('this command', package, extra)}", file=sys.stderr)
    sys.exit(2)
  except Interrupted as error:
    number = error.args[0]
    print(
      f"stopped by {signal.Signals(number).name} after a checkpoint; the same command resumes",
      file=sys.stderr,
    )
    sys.exit(128 + number)
  except BrokenPipeError:
    # The reader of the output has ended, as `| head` does. Drop what Python still buffers.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)
  except OSError as error:
    # Most errors of files are UserErrors that also say what to do.
    if (path := error.filename2 or error.filename) is not None:
      name = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else path
      print(f"error: {name}: {error.strerror or error}", file=sys.stderr)
      sys.exit(2)
    if error.errno not in (errno.ENOSPC, errno.EIO):  # of the standard streams
      raise
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    print(f"error: cannot write the output: {error.strerror}", file=sys.stderr)
    sys.exit(2)
  except KeyboardInterrupt as error:
    number = error.args[0] if error.args else signal.SIGINT
    print("stopped; the same command resumes from what was saved", file=sys.stderr)
    sys.exit(128 + number)
