"""How every command line starts and ends: flags, the user's mistakes, signals, exit status."""

import difflib
import os
import re
import signal
import sys
from collections.abc import Callable

# TensorFlow's C++ side reports its start on standard error; read when it is first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from absl import app, flags  # noqa: E402

from genre_jax.errors import Interrupted, UserError  # noqa: E402


def _parse(argv: list[str]) -> list[str]:
  """Parses flags; a mistake becomes a UserError that names the nearest flag or field."""
  try:
    rest = flags.FLAGS(argv)
  except (AttributeError, KeyError) as error:
    names = re.findall(r"config\.([\w.]+)", " ".join(argv))
    text = str(error).strip("'\"").splitlines()[-1]
    raise UserError(f"no such config field ({text}); given were "
                    + ", ".join(f"--config.{name}" for name in names)) from error
  except (flags.Error, OSError, TypeError, ValueError) as error:
    lines = [line for line in str(error).splitlines() if line.strip()]
    raise UserError(f"{lines[0]}" + (f" ({lines[-1].strip()})" if len(lines) > 1 else "")
                    ) from error
  return rest


def nearest(name: str, names) -> str:
  """' (did you mean X?)' for the name most alike, '' where none is."""
  near = difflib.get_close_matches(name, list(names), 1)
  return f" (did you mean {near[0]}?)" if near else ""


def run(main: Callable[[list[str]], int | None]) -> None:
  """Runs a command's main with its arguments; never shows a traceback for a user's mistake.

  Exit status: 0, or what main returns; 2 for a UserError; 128 + number for a signal.
  """
  try:
    app.run(main, flags_parser=_parse)
  except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
  except Interrupted as error:
    number = error.args[0]
    print(f"stopped by {signal.Signals(number).name} after a checkpoint; the same command goes on",
          file=sys.stderr)
    sys.exit(128 + number)
  except KeyboardInterrupt:
    print("stopped; the same command goes on from what was kept", file=sys.stderr)
    sys.exit(130)
