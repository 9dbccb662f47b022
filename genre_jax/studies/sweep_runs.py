"""Plan and make the runs of a sweep: a product of config values, one process for each run.

`genre_jax/sweep.py` and `protocol_runs.py` use it. A sweep's folder contains one folder for each
run, `logs/`, and the tables of `sweep_tables.py`, which are rewritten after each run.
"""

import copy
import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from typing import Any

from absl import flags
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict, config_flags

from genre_jax.errors import Interrupted, UserError, did_you_mean
from genre_jax.evaluation.run_predictions import identity, read_config, read_evaluation
from genre_jax.studies.sweep_tables import METRICS, Member, Row, write_tables

SECONDS_TO_SAVE = 60  # that a stopped run may take to write its checkpoint


def split_values(text: str) -> list[str]:
  """Split a text at commas outside brackets and quotes.

  '1e-4,3e-4' has two values, '(8,16),(16,32)' two tuples, and '"a,b",c' the strings a,b and c:
  quotes around a whole value are removed.

  Args:
    text: Values separated by commas.

  Returns:
    The values, without surrounding spaces.

  Raises:
    UserError: If a bracket or quote is not closed.
  """
  values, depth, quote, begin = [], 0, "", 0
  for place, sign in enumerate(text + ","):
    if quote:
      quote = "" if sign == quote else quote
    elif sign in "\"'":
      quote = sign
    elif sign in "([{":
      depth += 1
    elif sign in ")]}":
      depth -= 1
    elif sign == "," and depth == 0:
      values.append(text[begin:place].strip())
      begin = place + 1
  if quote or depth:
    raise UserError(f"--sweep: a bracket or quote of {text!r} is not closed")
  return [
    value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
    for value in values
  ]


def parse_sweeps(sweeps: list[str]) -> dict[str, list[str]]:
  """Parse the values of --sweep.

  Args:
    sweeps: Texts such as 'optimizer.learning_rate=1e-4,3e-4'.

  Returns:
    {field: values}.

  Raises:
    UserError: If a text has another form, or a field or value is given twice.
  """
  fields: dict[str, list[str]] = {}
  for text in sweeps:
    field, equals, values = text.partition("=")
    field = field.strip().removeprefix("config.")
    if not equals or not field or not values:
      raise UserError(f"--sweep={text}: give FIELD=VALUE,VALUE, as seed=0,1,2")
    if field in fields:
      raise UserError(f"--sweep: {field} is given twice")
    fields[field] = split_values(values)
    if len(set(fields[field])) < len(fields[field]):
      raise UserError(f"--sweep={text}: a value is given twice")
  return fields


def resolve(config: ConfigDict, values: dict[str, str]) -> dict[str, Any]:
  """Return a config with some values set as flags would set them.

  Args:
    config: The config; it is not changed.
    values: {field: value as given}.

  Returns:
    The config as plain JSON values.

  Raises:
    UserError: If a field does not exist or a value has the wrong type.
  """
  holder, argv = flags.FlagValues(), ["sweep", *arguments_of(values)]
  try:
    config_flags.DEFINE_config_dict(
      "config", copy.deepcopy(config), flag_values=holder, sys_argv=argv
    )
    holder(argv)
  except (AttributeError, KeyError, ValueError, TypeError, flags.Error) as error:
    known = flatten_dict(json.loads(config.to_json()), sep=".")
    for field in values:
      if field not in known:
        hint = did_you_mean(field, known, cutoff=0.0)
        raise UserError(f"--sweep: there is no field config.{field}{hint}") from error
    raise UserError(f"--sweep: {str(error).splitlines()[-1]}") from error
  return json.loads(holder["config"].value.to_json())


def plan(config: ConfigDict, fields: dict[str, list[str]]) -> list[Member]:
  """Plan all runs of a sweep; mistakes are reported before the first run.

  Args:
    config: The config that all runs share.
    fields: {field: values}.

  Returns:
    A member for each combination of values; the last field changes fastest.

  Raises:
    UserError: If a value is wrong, or two members would have the same folder.
  """
  short = {field: field.rpartition(".")[2] for field in fields}
  names = {
    field: short[field] if list(short.values()).count(short[field]) == 1 else field
    for field in fields
  }
  members = []
  for values in itertools.product(*fields.values()):
    chosen = dict(zip(fields, values, strict=True))
    name = ",".join(f"{names[field]}={value}" for field, value in chosen.items())
    members.append(
      Member(chosen, re.sub(r"[^\w.,=+-]", "-", name)[:200], identity(resolve(config, chosen)))
    )
  if len({member.name for member in members}) < len(members):
    raise UserError(
      "--sweep: two members would share a folder; give values that differ in letters,"
      " digits or any of . , = + -"
    )
  return members


def arguments_of(values: dict[str, str]) -> list[str]:
  """Return values as arguments of `genre_jax.main`."""
  return [f"--config.{field}={value}" for field, value in values.items()]


def read_row(member: Member, folder: pathlib.Path) -> Row:
  """Return the result of a member: 'done' if its folder has an evaluation of the same config.

  Args:
    member: The planned run.
    folder: Folder of the sweep.
  """
  row = Row(member)
  run = folder / member.name
  try:
    if read_config(run) != member.config:
      return row
    reports = {split: read_evaluation(run, split) for split in ("validation", "test")}
    # Accuracy is for one label a clip, PR-AUC for several: a run has one of them.
    row.metrics = {name: reports[split][unit].get(key) for name, split, unit, key in METRICS}
    row.status = "done"
  except (OSError, ValueError, KeyError):
    pass
  return row


class Runner:
  """Make runs one after another, and pass signals to the process that runs.

  Args:
    config_file: Value of --config.
    overrides: '--config.FIELD=VALUE' arguments that all members share.
    folder: Folder of the sweep.

  Attributes:
    stopped_by: Number of the signal that stopped the sweep, or 0.
  """

  def __init__(self, config_file: str, overrides: list[str], folder: pathlib.Path):
    self._command = [sys.executable, "-m", "genre_jax.main", f"--config={config_file}", *overrides]
    self._folder = folder
    self._process: subprocess.Popen | None = None
    self.stopped_by, self._stopped_at = 0, 0.0

  def stop(self, number, _=None) -> None:
    """Stop after a signal: the current run may save first; a second signal kills it."""
    if self._process and self._process.poll() is None:
      self._process.send_signal(signal.SIGKILL if self.stopped_by else number)
    self.stopped_by, self._stopped_at = number, time.monotonic()

  def run(self, member: Member) -> Row:
    """Train and evaluate one member in its own process."""
    log = self._folder / "logs" / f"{member.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [
      *self._command,
      *arguments_of(member.values),
      f"--workdir={self._folder / member.name}",
    ]
    with open(log, "w") as file:
      # Its own session: Ctrl-C reaches it once, through `stop`, and not twice.
      self._process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=file,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
      )
      try:
        while (status := self._process.poll()) is None:
          if self.stopped_by and time.monotonic() > self._stopped_at + SECONDS_TO_SAVE:
            self._process.kill()
          time.sleep(0.05)
      finally:
        if self._process.poll() is None:
          self._process.kill()
          self._process.wait()
    row = read_row(member, self._folder)
    if self.stopped_by:
      return row
    if status or row.status != "done":
      row.status, row.metrics = "failed", {}
      row.reason = _reason(log, status) if status else _mismatch(member, self._folder)
    return row


def _reason(log: pathlib.Path, status: int) -> str:
  """Return why a run failed: its error message, on one line."""
  lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
  errors = [i for i, line in enumerate(lines) if line.startswith("error: ")]
  if errors:
    return " ".join(lines[errors[-1] :]).removeprefix("error: ")
  if status < 0:
    return f"killed by {signal.Signals(-status).name}"
  return (lines[-1] if lines else "no output") + f" (exit status {status})"


def _mismatch(member: Member, folder: pathlib.Path) -> str:
  """Return why a run with exit status 0 is not the planned member."""
  try:
    config = read_config(folder / member.name)
  except (OSError, ValueError, KeyError):
    return "it wrote no config.json"
  names = [
    name
    for name in sorted(config.keys() | member.config.keys())
    if config.get(name) != member.config.get(name)
  ]
  if not names:
    return "it wrote no complete eval/"
  return (
    f"it ran with another config ({', '.join(names)}): the config file was changed during the"
    f" sweep. Delete {folder / member.name} to run it again"
  )


def run_all(members: list[Member], runner: Runner, folder: pathlib.Path) -> list[Row]:
  """Make the runs that are not done, print each, and write the tables.

  Args:
    members: The planned runs.
    runner: Makes a run.
    folder: Folder of the sweep.

  Returns:
    A row for each member.

  Raises:
    Interrupted: After a signal; the tables are written.
  """
  rows = [read_row(member, folder) for member in members]
  if done := sum(row.status == "done" for row in rows):
    print(f"sweep     {done} of {len(rows)} runs were finished before")
  before = {
    number: signal.signal(number, runner.stop) for number in (signal.SIGINT, signal.SIGTERM)
  }
  try:
    for i, member in enumerate(members):
      if rows[i].status != "done" and not runner.stopped_by:
        print(f"[{i + 1}/{len(rows)}] {member.name} ...", end=" ", flush=True)
        began = time.monotonic()
        rows[i] = runner.run(member)
        print(_one_line(rows[i]), f"({time.monotonic() - began:.0f} s)", flush=True)
        write_tables(rows, folder)
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
  write_tables(rows, folder)
  if runner.stopped_by:
    raise Interrupted(runner.stopped_by)
  return rows


def _one_line(row: Row) -> str:
  if row.status != "done":
    return f"failed: {row.reason}" if row.status == "failed" else "stopped"
  return (
    "  ".join(
      f"{name} {100 * row.metrics[name]:.1f} %"
      for name, *_ in METRICS
      if "segment" not in name and "nll" not in name and row.metrics[name] is not None
    )
    or "done"
  )
