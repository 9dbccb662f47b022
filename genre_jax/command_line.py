"""How every command line starts and ends: flags, the user's mistakes, signals, exit status."""

import errno
import logging
import os
import pathlib
import signal
import sys
from collections.abc import Callable

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags

from genre_jax.errors import Interrupted, UserError


def _parse(argv: list[str]) -> list[str]:
  """Parses flags; a mistake becomes a UserError that names the flag, and the nearest field."""
  try:
    return flags.FLAGS(argv)
  except (AttributeError, KeyError) as error:
    text = str(error.args[0])
    for old, new in (("\\n", "; "), ("\n", "; "), ("\\'", ""), ("'", ""), ('"', "")):
      text = text.replace(old, new)
    raise UserError(f"no such config field: {text[0].lower() + text[1:]}") from error
  except Exception as error:  # a config file is a program, and may fail in any way
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kind = "" if isinstance(error, flags.Error) else f"{type(error).__name__}: "
    raise UserError(kind + " ".join(dict.fromkeys(lines[:1] + lines[-1:]))) from error


def define_config() -> flags.FlagHolder:
  """Defines --config, and with it a flag for each of the config's fields."""
  return config_flags.DEFINE_config_file(
    "config", None, "The experiment, a file of experiments/.", lock_config=True
  )


def experiment(argv: list[str], config: flags.FlagHolder) -> tuple[ConfigDict, str]:
  """The config that the flags gave, and its name.

  Raises:
    UserError: if there is none, or something stands in its way.
  """
  if len(argv) > 1:
    raise UserError(f"unexpected argument {argv[1]!r}: flags begin with --")
  if config.value is None:
    raise UserError("--config is missing: give an experiment, as --config=experiments/tf_split.py")
  path = config_flags.get_config_filename(flags.FLAGS["config"])
  try:
    config.value.lock()
  except OSError as error:
    reason = str(error).strip().splitlines()[-1].strip()
    raise UserError(f"--config={path} cannot be loaded: {reason}") from error
  return config.value, pathlib.Path(path.split(":")[0]).stem


def _terminate(number, _) -> None:
  """SIGTERM ends a command as Ctrl-C does: workers are ended, what was finished is kept."""
  raise KeyboardInterrupt(number)


def run(main: Callable[[list[str]], int | None]) -> None:
  """Runs a command's main with its arguments; never shows a traceback for a user's mistake.

  Exit status: 0, or what main returns; 2 for a UserError; 128 + number for a signal.
  """
  signal.signal(signal.SIGTERM, _terminate)
  # Python has None where a stream was closed before the start, as `>&-` does.
  for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
    if getattr(sys, name) is None:
      setattr(sys, name, open(os.devnull, mode))
  # TensorFlow's C++ side reports its start on standard error; it reads these at its first import.
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
  # orbax logs every file that it touches, and failures that also reach the caller as exceptions.
  absl_logging.set_verbosity(absl_logging.FATAL)
  logging.getLogger("absl").setLevel(logging.CRITICAL)
  # JAX tells which accelerators there are not, and XLA at every start from its cache that
  # 'prefer-no-gather' is no feature of the processor; what matters comes as an exception as well.
  logging.getLogger("jax").setLevel(logging.CRITICAL)
  try:
    app.run(main, flags_parser=_parse)
  except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
  except Interrupted as error:
    number = error.args[0]
    print(
      f"stopped by {signal.Signals(number).name} after a checkpoint; the same command goes on",
      file=sys.stderr,
    )
    sys.exit(128 + number)
  except BrokenPipeError:
    # Whoever read the output has gone, as `| head` does. What Python still holds for it is let go.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)
  except OSError as error:  # of the standard streams; files have messages of their own
    if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO):
      raise
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
    sys.exit(2)
  except KeyboardInterrupt as error:
    number = error.args[0] if error.args else signal.SIGINT
    print("stopped; the same command goes on from what was kept", file=sys.stderr)
    sys.exit(128 + number)
