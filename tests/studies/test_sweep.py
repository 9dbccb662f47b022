"""Test sweeps: the product, mistakes before the first run, resuming, failures, Ctrl-C, tables."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from ml_collections import ConfigDict

from genre_jax.errors import UserError
from genre_jax.studies import sweep_runs, sweep_tables
from genre_jax.studies.sweep_tables import Member, Row
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

CONFIG = """
from ml_collections import ConfigDict

def get_config():
  return ConfigDict({"seed": 0, "model": {"channels": (4, 8), "name": "x"},
                     "optimizer": {"learning_rate": 1e-3}, "train": {"epochs": 1}})
"""

# Replaces genre_jax.main: trains nothing, logs its runs, fails at a rate of 9.
MAIN = """
import json, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.default_int_handler)
from absl import app, flags
from ml_collections import config_flags
CONFIG = config_flags.DEFINE_config_file("config", None, lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", "", "")
def main(_):
  config, folder = CONFIG.value, pathlib.Path(WORKDIR.value)
  with open("runs.log", "a") as log:
    log.write(folder.name + "\\\\n")
  if config.optimizer.learning_rate == 9:
    print("error: the loss is not finite\\\\nlower it", file=sys.stderr)
    sys.exit(2)
  try:
    time.sleep(config.train.epochs - 1)
  except KeyboardInterrupt:
    time.sleep(1.5)  # as a checkpoint takes
    pathlib.Path("saved").touch()
    sys.exit(130)
  (folder / "eval").mkdir(parents=True)
  (folder / "config.json").write_text('{"config": ' + config.to_json() + '}')
  metrics = {"n": 10, "accuracy": config.optimizer.learning_rate + config.seed / 10, "nll": 1.0}
  none = {"n": 0, "accuracy": None, "nll": None}
  for stem, m in (("valid", metrics), ("test", none)):
    (folder / "eval" / (stem + ".json")).write_text(json.dumps({"track": m, "segment": m}))
app.run(main)
"""


@pytest.fixture
def place(tmp_path):
  """Return a folder in which genre_jax.main is MAIN; the rest is the package's."""
  (tmp_path / "tiny.py").write_text(CONFIG)
  package = tmp_path / "genre_jax"
  package.mkdir()
  (package / "main.py").write_text(MAIN.replace("\\\\n", "\\n"))
  (package / "__init__.py").write_text(
    f"__path__.append({str(ROOT / 'genre_jax')!r})\n__version__ = '0'\n"
  )
  return tmp_path


def _command(*arguments):
  return [sys.executable, "-m", "genre_jax.sweep", "--config=tiny.py", *arguments]


def _sweep(place, *arguments, status=0):
  environment = {**os.environ, "PYTHONPATH": str(place)}
  done = subprocess.run(
    _command(*arguments), cwd=place, capture_output=True, text=True, env=environment
  )
  assert done.returncode == status, done.stdout + done.stderr
  assert "Traceback" not in done.stderr, done.stderr
  return done.stdout + done.stderr


def _started(place):
  path = place / "runs.log"
  return path.read_text().splitlines() if path.exists() else []


def test_a_sweep_runs_the_product_once_keeps_failures_and_ends_with_tables(place):
  sweeps = ("--sweep", "optimizer.learning_rate=0.5,0.6,9", "--sweep", "seed=0,1")
  out = _sweep(place, *sweeps, status=1)
  folder = place / "runs" / "sweep_tiny"
  assert len(_started(place)) == 6
  assert "| 0.5 | 2 | 0 | 55.0 % (7.1) |" in out
  assert "the loss is not finite lower it" in (folder / "table.md").read_text()
  with open(folder / "runs.csv") as file:
    runs = list(csv.DictReader(file))
  assert [run["status"] for run in runs] == ["done"] * 4 + ["failed"] * 2
  assert runs[4]["reason"] == "the loss is not finite lower it"
  with open(folder / "table.csv") as file:
    table = list(csv.DictReader(file))
  assert [(row["optimizer.learning_rate"], row["n"], row["failed"]) for row in table] == [
    ("0.5", "2", "0"),
    ("0.6", "2", "0"),
    ("9", "0", "2"),
  ]
  assert float(table[0]["validation track accuracy mean"]) == pytest.approx(0.55)
  assert table[0]["test track accuracy mean"] == table[2]["validation track accuracy sd"] == ""

  out = _sweep(place, *sweeps, status=1)
  assert "4 of 6 runs were finished before" in out
  assert _started(place)[6:] == ["learning_rate=9,seed=0", "learning_rate=9,seed=1"]


def test_overrides_reach_every_run_and_another_config_does_not_count_as_done(place):
  _sweep(place, "--sweep", "seed=0,1", "--config.optimizer.learning_rate=0.25")
  folder = place / "runs" / "sweep_tiny"
  config = json.loads((folder / "seed=1" / "config.json").read_text())["config"]
  assert (config["optimizer"]["learning_rate"], config["seed"]) == (0.25, 1)
  _sweep(place, "--sweep", "seed=0", "--workdir=other")
  assert len(_started(place)) == 3
  # MAIN refuses an existing folder, as genre_jax.main refuses another config.
  assert "failed" in _sweep(place, "--sweep", "seed=0", status=1)


@pytest.mark.parametrize(
  "sweeps,message",
  [
    (["optimiser.learning_rate=1,2"], "did you mean optimizer.learning_rate?"),
    (["seed=0", "optimizer.learning_rate=1,fast"], "learning_rate=fast"),
    (["seed=0,1.5"], "seed=1.5"),
    (["seed"], "give FIELD=VALUE"),
    (["seed=0,0"], "given twice"),
    (["seed=0", "seed=1"], "given twice"),
    (["model.channels=(1,2"], "not closed"),
  ],
)
def test_a_mistake_is_reported_before_the_first_run(place, sweeps, message):
  out = _sweep(place, *(f"--sweep={sweep}" for sweep in sweeps), status=2)
  assert message in out
  assert not _started(place)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_sweep_and_it_resumes_later(place, number):
  arguments = _command("--sweep", "seed=0,1,2", "--config.train.epochs=31", "--workdir=s")
  process = subprocess.Popen(
    arguments,
    cwd=place,
    env={**os.environ, "PYTHONPATH": str(place)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  deadline = time.monotonic() + 60
  while time.monotonic() < deadline and not _started(place):
    time.sleep(0.05)
  process.send_signal(number)
  out, errors = process.communicate(timeout=30)
  assert process.returncode == 128 + number, out + errors
  assert "the same command resumes" in errors and "Traceback" not in errors
  with open(place / "s" / "runs.csv") as file:
    assert [run["status"] for run in csv.DictReader(file)] == ["not run"] * 3
  assert _started(place) == ["seed=0"]
  assert (place / "saved").exists(), "the run could not save"


def test_values_are_split_outside_brackets_and_quotes():
  assert sweep_runs.split_values("1e-4,3e-4") == ["1e-4", "3e-4"]
  assert sweep_runs.split_values("(8,16),(16,32)") == ["(8,16)", "(16,32)"]
  assert sweep_runs.split_values("'a,b',c") == ["a,b", "c"]
  assert sweep_runs.split_values("all") == ["all"]
  with pytest.raises(UserError):
    sweep_runs.split_values("'a")


def test_tuples_reach_the_config_and_names_fit_folders():
  config = ConfigDict({"model": {"channels": (4, 8), "name": "x"}}).lock()
  fields = sweep_runs.parse_sweeps(["model.channels=(8,16),(16,32)", "model.name=a/b"])
  members = sweep_runs.plan(config, fields)
  assert [member.config["model.channels"] for member in members] == [[8, 16], [16, 32]]
  assert members[0].name == "channels=-8,16-,name=a-b"
  assert config.model.channels == (4, 8)
  with pytest.raises(UserError, match="share a folder"):
    sweep_runs.plan(config, {"model.name": ["a/b", "a:b"]})


def test_means_are_over_seeds_of_one_setting():
  def row(rate, seed, status, accuracy=None):
    return Row(
      Member({"rate": rate, "seed": seed}, f"{rate}{seed}", {}),
      status,
      metrics={"validation track accuracy": accuracy} if accuracy else {},
    )

  rows = [
    row("1", "0", "done", 0.5),
    row("1", "1", "done", 0.7),
    row("1", "2", "failed"),
    row("2", "0", "not run"),
  ]
  one, two = sweep_tables.summarize(rows)
  assert (one["rate"], one["n"], one["failed"]) == ("1", 2, 1)
  assert one["validation track accuracy mean"] == pytest.approx(0.6)
  assert one["validation track accuracy sd"] == pytest.approx(0.02**0.5)
  assert two["n"] == 0 and two["validation track accuracy mean"] is None


def test_the_reason_is_the_last_error_or_what_ended_it(tmp_path):
  log = pathlib.Path(tmp_path / "log")
  log.write_text("source x\nerror: a\nthe rest\n")
  assert sweep_runs._reason(log, 2) == "a the rest"
  log.write_text("")
  assert sweep_runs._reason(log, -9) == "killed by SIGKILL"
  log.write_text("Traceback\nValueError: b\n")
  assert sweep_runs._reason(log, 1) == "ValueError: b (exit status 1)"


def test_a_run_that_is_not_the_planned_one_reports_the_difference(tmp_path):
  member = Member({"seed": "1"}, "seed=1", {"seed": 1, "a.b": 2})
  assert sweep_runs._mismatch(member, tmp_path) == "it wrote no config.json"
  (tmp_path / "seed=1").mkdir()
  path = tmp_path / "seed=1" / "config.json"
  path.write_text('{"config": {"seed": 1, "a": {"b": 3}}}')
  assert "another config (a.b): the config file was changed" in sweep_runs._mismatch(
    member, tmp_path
  )
  path.write_text('{"config": {"seed": 1, "a": {"b": 2}}}')
  assert sweep_runs._mismatch(member, tmp_path) == "it wrote no complete eval/"
