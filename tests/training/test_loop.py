"""Test whole runs: the files that they write, and that interrupted runs resume."""

import dataclasses
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from genre_jax.data.splits import assign_splits
from genre_jax.errors import UserError
from genre_jax.evaluation.run_predictions import evaluation_file, read_evaluation
from genre_jax.studies.run import train_and_evaluate
from genre_jax.training import workdir
from genre_jax.training.metric_writer import MetricWriter
from tests.training.tiny_runs import CONFIG, command, curves, environment, write_experiment


@pytest.fixture
def place(tmp_path):
  """Return a folder with a config and its archive."""
  write_experiment(tmp_path)
  return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """Return a folder with a finished run of the command in runs/tiny, and the output.

  A process costs many times what the training costs: tests share the run and copy the folder.
  """
  folder = tmp_path_factory.mktemp("finished")
  write_experiment(folder)
  return folder, _main(folder)


@pytest.fixture
def trained(finished, tmp_path):
  """Return a copy of the folder of the finished run."""
  return shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)


def _main(place, *arguments, status=0, **more) -> str:
  """Run the command in `place`, check its exit status, and return its output."""
  done = subprocess.run(
    command(*arguments), cwd=place, capture_output=True, text=True, env=environment(**more)
  )
  assert done.returncode == status, done.stdout + done.stderr
  assert "Traceback" not in done.stderr, done.stderr
  return done.stdout + done.stderr


@pytest.mark.slow
def test_a_run_writes_the_documented_files(finished):
  place, out = finished
  workdir = place / "runs" / "tiny"
  assert "validation" in out and "track accuracy" in out
  config = json.loads((workdir / "config.json").read_text())
  assert config["config"]["model"]["channels"] == [4, 8]
  assert config["packages"]["jax"] and config["commit"]
  assert list(workdir.glob("events.*"))
  assert len(curves(workdir)) == 12
  for split in ("validation", "test"):
    report = json.loads(evaluation_file(workdir, split).read_text())
    assert report["split"] == "random_tracks" and report["leaky"] is False
    assert report["classes"] == ["high", "low"]
    assert report["seed"] == 0 and report["checkpoint_step"] > 0 and report["parameters"] > 0
    for unit in ("segment", "track"):
      metrics = report[unit]
      low, high = metrics["ci95"]
      assert low <= metrics["accuracy"] <= high
      assert np.sum(metrics["confusion"]) == metrics["n"] > 0
      assert set(metrics["per_class"]) == {"high", "low"}
      assert set(metrics["per_class"]["low"]) == {"precision", "recall", "n"}
    header, *rows = evaluation_file(workdir, split, "track").read_text().splitlines()
    assert header == "track,group,label,prediction,p_high,p_low"
    assert len(rows) == report["track"]["n"]
  assert json.loads((workdir / "eval" / "test.json").read_text())["track"]["accuracy"] > 0.9


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Sharding info not provided")
def test_a_finished_run_is_evaluated_again_and_gives_its_weights(trained, monkeypatch, capsys):
  tiny = trained / "runs" / "tiny"
  first = (tiny / "eval" / "test.json").read_text()
  _in_process(trained, monkeypatch, workdir="runs/tiny")
  assert "already finished" in capsys.readouterr().out
  _in_process(trained, monkeypatch, workdir="runs/tiny", mode="eval")
  assert (tiny / "eval" / "test.json").read_text() == first
  capsys.readouterr()
  _in_process(trained, monkeypatch, workdir="runs/tiny", mode="eval", checkpoint="last")
  assert f"checkpoints/{12 * curves(tiny)[0]['step']}" in capsys.readouterr().out

  changed = re.escape("config.optimizer.learning_rate: 0.002 before, 0.5 now")
  with pytest.raises(UserError, match=changed):
    _in_process(trained, monkeypatch, workdir="runs/tiny", optimizer__learning_rate=0.5)

  own = {"init_from": "runs/tiny", "train__epochs": 1, "dataset__genres": "low,high"}
  _in_process(trained, monkeypatch, workdir="runs/own", **own)
  assert "new: params/logits/bias, params/logits/kernel" in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_run_resumes_and_ends_with_the_same_results(trained, monkeypatch, capsys):
  place, whole = trained, trained / "runs" / "tiny"
  process = subprocess.Popen(
    command("--workdir=killed"),
    cwd=place,
    env=environment(),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  path = place / "killed" / "metrics.jsonl"
  # From the third line on, the first checkpoint is complete. The step of the kill varies in time.
  deadline = time.monotonic() + 120
  while (
    time.monotonic() < deadline
    and process.poll() is None
    and not (path.exists() and len(path.read_text().splitlines()) >= 5)
  ):
    time.sleep(0.005)
  process.send_signal(signal.SIGKILL)
  assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
  _in_process(place, monkeypatch, workdir="killed")
  assert "resuming at step" in capsys.readouterr().out
  assert curves(place / "killed") == curves(whole)
  for name in ("eval/valid.csv", "eval/test.csv", "eval/test.json"):
    assert (place / "killed" / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_cleanly(place, number):
  process = subprocess.Popen(
    command("--config.train.epochs=3000"),
    cwd=place,
    env=environment(),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )
  path = place / "runs" / "tiny" / "metrics.jsonl"
  deadline = time.monotonic() + 120
  while time.monotonic() < deadline and not (path.exists() and path.read_text()):
    time.sleep(0.01)
  process.send_signal(number)
  _, errors = process.communicate(timeout=60)
  assert process.returncode == 128 + number
  assert "the same command resumes" in errors and "Traceback" not in errors
  checkpoints = [p.name for p in (place / "runs" / "tiny" / "checkpoints").iterdir()]
  assert [name for name in checkpoints if name.isdigit()]


@pytest.mark.slow
def test_a_checkpoint_of_eight_devices_is_evaluated_on_one(place, monkeypatch):
  eight = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8"
  _main(place, "--config.train.epochs=2", XLA_FLAGS=eight)
  path = place / "runs" / "tiny" / "eval" / "test.json"
  before = json.loads(path.read_text())
  assert json.loads((place / "runs" / "tiny" / "config.json").read_text())["devices"] == 8
  _in_process(place, monkeypatch, workdir="runs/tiny", mode="eval", train__epochs=2)
  after = json.loads(path.read_text())
  assert after["checkpoint_step"] == before["checkpoint_step"]
  assert after["track"]["nll"] == pytest.approx(before["track"]["nll"], abs=1e-5)


def _in_process(
  place, monkeypatch, mode="train_and_eval", workdir="run", checkpoint="best", **changes
):
  """Run in this process; names of changed fields have __ instead of dots."""
  monkeypatch.chdir(place)
  names: dict = {}
  exec(CONFIG, names)  # the same config as on the command line
  config = names["get_config"]()
  for name, value in changes.items():
    group, _, field = name.rpartition("__")
    (config[group] if group else config)[field] = value
  return train_and_evaluate(config, workdir, mode=mode, checkpoint=checkpoint)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_with_a_checkpoint_before_it(place, monkeypatch):
  changes = {"learning_rate": 1e38, "name": "sgd", "warmup_fraction": 0.0}
  with pytest.raises(UserError, match="the loss is not finite at step") as error:
    _in_process(
      place, monkeypatch, **{f"optimizer__{name}": value for name, value in changes.items()}
    )
  step = int(str(error.value).split("not finite at step ")[1].split(";")[0])
  assert (place / "run" / "checkpoints" / str(step - 1)).is_dir()


@pytest.mark.slow
def test_training_stops_when_nothing_gets_better(place, monkeypatch, capsys):
  _in_process(place, monkeypatch, optimizer__learning_rate=0.0, train__patience=2)
  assert "no better evaluation among the last 2" in capsys.readouterr().out
  # Running statistics still change for some steps, and the nll with them.
  assert 3 <= len(curves(place / "run")) < 12
  _in_process(place, monkeypatch, optimizer__learning_rate=0.0, train__patience=2)
  assert "already finished" in capsys.readouterr().out


@pytest.mark.slow
def test_other_tracks_are_evaluated_with_a_trained_network(trained, monkeypatch):
  """The set has no track to train on, as a folder of test tracks."""
  place = trained
  with np.load(place / "archive.npz") as archive:
    keep = np.arange(48) % 24 < 3
    np.savez(place / "few.npz", log_mel=archive["log_mel"][keep], names=archive["names"][keep])
  few = {"dataset__path": "few.npz", "mode": "eval"}
  with pytest.raises(UserError, match="the prepared tracks"):  # the run keeps its own results
    _in_process(place, monkeypatch, workdir="runs/tiny", **few)
  reports = _in_process(place, monkeypatch, workdir="other", checkpoint="runs/tiny", **few)
  assert reports["test"]["track"]["n"] == 2


def test_a_second_process_is_kept_out(place, monkeypatch):
  (place / "run").mkdir()
  with workdir.lock_workdir(place / "run"), pytest.raises(UserError, match="in use by another"):
    _in_process(place, monkeypatch)


@pytest.mark.slow
def test_damaged_curves_do_not_stop_a_run(trained):
  path = trained / "runs" / "tiny" / "metrics.jsonl"
  before = path.read_text()
  path.write_bytes(before.encode() + b'5\n[1]\nnull\n{"step": "x"}\n\xff\xfe\n{"st')
  MetricWriter(trained / "runs" / "tiny", 1000).close()
  assert path.read_text() == before


@pytest.mark.slow
def test_another_split_of_the_trained_tracks_is_not_evaluated(trained, monkeypatch):
  other = {"mode": "eval", "split__seed": 1}
  with pytest.raises(UserError, match="config.split.seed: 0 before, 1 now"):
    _in_process(trained, monkeypatch, workdir="runs/tiny", **other)
  with pytest.raises(UserError, match="trained on another split of these tracks"):
    _in_process(trained, monkeypatch, workdir="other", checkpoint="runs/tiny", **other)


@pytest.mark.slow
def test_a_run_without_tracks_to_evaluate_has_null_metrics(place, monkeypatch):
  def assign_all_to_train(clips, **settings):
    assignment = assign_splits(clips, **settings)
    return dataclasses.replace(assignment, splits=dict.fromkeys(assignment.splits, "train"))

  monkeypatch.setattr("genre_jax.training.setup.assign_splits", assign_all_to_train)
  reports = _in_process(place, monkeypatch, train__epochs=1)
  for split in ("validation", "test"):
    assert reports[split]["track"]["n"] == 0 and reports[split]["track"]["accuracy"] is None
    assert read_evaluation(place / "run", split) == reports[split]


@pytest.mark.slow
def test_a_profile_of_some_steps_changes_nothing_else(place, monkeypatch, capsys):
  changes = {"workdir": "profiled", "mode": "train", "train__epochs": 8}
  changes["train__eval_every_epochs"] = 8  # an evaluation has a hundred times the events of a step
  _in_process(place, monkeypatch, profile=True, **changes)
  assert "profile   20 steps in profiled/profile" in capsys.readouterr().out
  (trace,) = (place / "profiled" / "profile").glob("plugins/profile/*/perfetto_trace.json.gz")
  assert list(trace.parent.glob("*.xplane.pb"))
  names = {
    event.get("name") for event in json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
  }
  assert {"wait for batch", "to device", "train"} <= {str(name).split("#")[0] for name in names}
  _in_process(place, monkeypatch, **changes)
  assert "already finished" in capsys.readouterr().out
