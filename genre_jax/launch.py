"""Train with several processes of this machine, and start them again when one of them dies.

`genre-jax launch --processes=2 --restarts=3 main --config=experiments/tf_split.py` starts `main` in
each process, with the flags that follow it. They train one network together, and resume at the last
checkpoint. docs/how-to/distributed.md says how to use several machines.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

from absl import flags

from genre_jax import command_line
from genre_jax.errors import LOST, UserError

PROCESSES = flags.DEFINE_integer("processes", 2, "Number of processes.", lower_bound=1)
RESTARTS = flags.DEFINE_integer(
  "restarts", 0, "How often all processes start again after one has died.", lower_bound=0
)
flags.FLAGS.set_gnu_getopt(False)  # what follows `main` belongs to it

END_SECONDS = 15.0  # for the other processes, after one has ended
POLL_SECONDS = 0.1
MISTAKE = 2  # exit status of a UserError
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(argv: list[str]) -> int:
  """Start the processes until they end well, and return the exit status."""
  if argv[1:2] != ["main"]:
    raise UserError("give the command to start: genre-jax launch --processes=2 main --config=...")
  for attempt in range(RESTARTS.value + 1):
    with _children(argv[2:]) as (children, received):
      codes = _wait(children)
    if received:
      return 128 + received[0]
    # The first one that failed, and not because it lost another one.
    died = min(range(len(codes)), key=lambda index: _rank(codes[index]))
    worst = codes[died]
    if worst in (0, MISTAKE, *(128 + number for number in SIGNALS)):
      return worst
    left = RESTARTS.value - attempt
    print(
      f"process {died} of {len(codes)} ended with {_name(worst)}; "
      + (f"all start again, {left} more times at most" if left else "the same command resumes"),
      file=sys.stderr,
      flush=True,
    )
  return 1


@contextlib.contextmanager
def _children(arguments: list[str]) -> Iterator[tuple[list[subprocess.Popen], list[int]]]:
  """Start the processes; pass signals on to them; end those that are left.

  Yields:
    The processes, and the numbers of the signals that have come.
  """
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
  children: list[subprocess.Popen] = []
  received: list[int] = []

  def pass_on(number, _):
    received.append(number)
    for child in children:
      child.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

  # Each process would take all GPUs of the machine.
  environment = {"JAX_PLATFORMS": "cpu", **os.environ}
  before = {
    number: signal.signal(number, pass_on)
    for number in SIGNALS
    if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN  # as by nohup
  }
  try:
    for index in range(PROCESSES.value):
      command = [sys.executable, "-m", "genre_jax.main", *arguments]
      command += [f"--coordinator=127.0.0.1:{port}", f"--processes={PROCESSES.value}"]
      # A group of its own: Ctrl-C in a terminal comes from here alone, once.
      command.append(f"--process={index}")
      children.append(subprocess.Popen(command, env=environment, process_group=0))
    yield children, received
  finally:
    for child in children:
      child.kill()
      child.wait()
    for number, handler in before.items():
      signal.signal(number, handler)


def _wait(children: list[subprocess.Popen]) -> list[int]:
  """Return the exit statuses; 0 for those that END_SECONDS after a failed one still run."""
  failed = 0.0
  while any(child.poll() is None for child in children):
    if any(child.returncode for child in children):
      failed = failed or time.monotonic()
      if time.monotonic() - failed > END_SECONDS:
        break
    time.sleep(POLL_SECONDS)
  return [child.returncode or 0 for child in children]


def _rank(code: int) -> int:
  """Return the order in which exit statuses count: a fault, the loss of another process, none."""
  # JAX itself aborts a process that has lost another one and does not notice it in time.
  return 2 if code == 0 else 1 if code in (LOST, -signal.SIGABRT) else 0


def _name(code: int) -> str:
  return signal.Signals(-code).name if code < 0 else f"exit status {code}"


if __name__ == "__main__":
  command_line.run(main)
