"""Protocols: runs made once, folds pooled, lines that say what was measured and what was not."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

from genre_jax.data.splits import published_lists
from genre_jax.errors import UserError
from genre_jax.evaluation.calibration import (
  apply_temperature,
  cross_fitted,
  expected_calibration_error,
  fit_temperature,
  perfect_calibration_error,
  reliability,
)
from genre_jax.evaluation.run_predictions import pool_folds, read_run
from genre_jax.studies import protocol_runs, protocols
from tests.conftest import ROOT


@pytest.fixture
def archive(tmp_path):
  """Random spectrograms of listed tracks of four genres, 12 of train and 6 of valid each."""
  names, rng = [], np.random.default_rng(0)
  for genre in ("classical", "disco", "metal", "rock"):
    for split, count in (("train", 12), ("validation", 6)):
      names += [
        t for t, s in sorted(published_lists().items()) if s == split and t.startswith(genre)
      ][:count]
  np.savez(
    tmp_path / "log_mel.npz",
    names=np.array(names),
    log_mel=rng.integers(0, 256, (len(names), 128, 387), np.uint8),
  )
  return tmp_path


def _small(prepared):
  """A protocol of three lines that cost little."""
  quick = {
    "train.epochs": "1",
    "segments.train_per_track": "1",
    "model.name": "baseline",
    "dataset.prepared_dir": str(prepared),
  }
  return protocols.Protocol(
    "P3 in small",
    "About it.",
    "log_mel.npz",
    "validation",
    "track",
    (
      protocols.Entry("first", "axis_features", 1, (), quick),
      protocols.Entry("second, own", "axis_features", 1, (), {**quick, "optimizer.clip_norm": "1"}),
      protocols.Entry("third", "axis_features", 3, (), quick),
    ),
  )


def test_runs_are_made_once_and_the_page_says_what_was_not_run(archive, monkeypatch, capsys):
  monkeypatch.setitem(protocols.PROTOCOLS, "P3", _small(archive / "prepared"))
  monkeypatch.chdir(ROOT)
  page = archive / "RESULTS.md"
  settings = dict(data=str(archive), workdir=str(archive / "runs"), into=str(page))
  assert protocol_runs.run_protocol("P3", **settings, entries="first,second-own") == 0
  before = {
    path: path.stat().st_mtime_ns
    for path in archive.glob("runs/**/*.csv")
    if path.parent.name == "eval"
  }
  assert len(before) == 2 * 4  # tracks and segments of two sides, two runs
  text = page.read_text()
  lines = [line for line in text.splitlines() if line.startswith("| ")]
  first = next(line for line in lines if line.startswith("| first |"))
  assert "| 1 | 24 |" in first and "[" in first
  assert any(line.startswith("| second, own | ") for line in lines)
  assert "| third | | not run |" in text
  assert "first minus" in text and "exploratory" in text and "| second, own | " in text
  assert "No seed of any of 2 networks has " in text
  assert "Calibration of first, mean over 1 seeds, n = 24" in text
  assert "<!-- P1 -->\n<!-- /P1 -->" in text
  capsys.readouterr()
  assert protocol_runs.run_protocol("P3", **settings, entries="first,second-own") == 0
  assert "1 of 1 runs were finished before" in capsys.readouterr().out
  assert before == {path: path.stat().st_mtime_ns for path in before}
  assert page.read_text() == text

  elsewhere = {**settings, "workdir": str(archive / "elsewhere")}
  assert protocol_runs.run_protocol("P3", **elsewhere, entries="none") == 0
  assert page.read_text() == text, "no run is at hand there: the page stays"

  (archive / "binary").write_bytes(b"\xff\xfe\xff")
  for into, message in (("binary", "--into=.*not UTF-8"), ("absent/a", "cannot write to .*absent")):
    changed = {**settings, "into": str(archive / into), "entries": "third"}
    with pytest.raises(UserError, match=message):
      protocol_runs.run_protocol("P3", **changed)
  with np.load(archive / "log_mel.npz") as old:
    np.savez(archive / "log_mel.npz", names=old["names"], log_mel=255 - old["log_mel"])
  with pytest.raises(UserError, match="is of other clips"):
    protocol_runs.run_protocol("P3", **settings, entries="none")


def test_lines_of_runs_that_are_gone_are_kept_and_marked():
  new = "| network | seeds | % |\n| a | 2 | 91.0 |\n| b, own | | not run |\n| c | | not run |"
  old = "| a | 1 | 90.0 |\n| b, own | 3 | 80.0 |\n\n| b, own | +1.0 [0, 2] |\n| c | +2.0 [1, 3] |"
  text = protocol_runs._with_kept_rows(new, old)
  assert "| a | 2 | 91.0 |" in text and "90.0" not in text
  assert "| b, own † | 3 | 80.0 |" in text and "| c | | not run |" in text
  assert text.count("From runs that are not at hand") == 1
  assert protocol_runs._with_kept_rows(new, text) == text  # kept again
  assert "†" not in protocol_runs._with_kept_rows(new, "")


@pytest.mark.parametrize(
  "arguments,message",
  [
    (["P5"], "give one protocol, of P1, P2, P3, P4"),
    (["P3", "--data=absent"], "absent/log_mel.npz does not exist"),
    (
      ["P3", "--entries=axis_featurs"],
      "--entries=axis_featurs: give some of axis_features, axis_features_2d",
    ),
  ],
)
def test_mistakes(arguments, message, archive):
  arguments = [f"--data={archive}", f"--workdir={archive}/runs", *arguments]
  result = subprocess.run(
    [sys.executable, "-m", "genre_jax.protocol", *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert result.returncode == 2 and message in result.stderr and "Traceback" not in result.stderr


def test_every_protocol_resolves(archive):
  for value in protocols.PROTOCOLS.values():
    runs = [m.config for entry in value.entries for m in protocols.members(entry, archive)]
    assert len({json.dumps(run, sort_keys=True) for run in runs}) == len(runs)
    assert value.primary in ("", *(entry.name for entry in value.entries))
    folders = {protocols.entry_folder(archive, entry) for entry in value.entries}
    assert len(folders) == len(value.entries)


def _write_run(folder, fold, names, wrong=()):
  (folder / "eval").mkdir(parents=True)
  (folder / "config.json").write_text(
    json.dumps({"config": {"task": "single_label", "seed": 0, "split": {"fold": fold}}})
  )
  (folder / "eval" / "test.json").write_text(
    json.dumps({"split": "artist_kfold", "leaky": False, "classes": ["a", "b"]})
  )
  for file in ("test.csv", "test_segments.csv"):
    with open(folder / "eval" / file, "w", newline="") as out:
      writer = csv.writer(out)
      writer.writerow(["track", "group", "label", "prediction", "p_a", "p_b"])
      for name in names:
        for _ in range(1 if file == "test.csv" else 2):
          writer.writerow([name, f"g{name}", "a", "b" if name in wrong else "a", 0.6, 0.4])
  return folder


def test_folds_become_one_run_in_which_each_track_is_asked_once(tmp_path):
  folders = [
    _write_run(tmp_path / "0", 0, ["t3", "t1"], wrong=["t1"]),
    _write_run(tmp_path / "1", 1, ["t2", "t0"]),
  ]
  pooled = pool_folds([read_run(folder, "test") for folder in folders])
  assert pooled.tracks == ("t0", "t1", "t2", "t3") and pooled.groups[1] == "gt1"
  assert pooled.correct.tolist() == [True, False, True, True]
  segments = pool_folds([read_run(folder, "test", "segment") for folder in folders])
  assert segments.tracks[:3] == ("t0/0", "t0/1", "t1/0") and segments.correct.mean() == 6 / 8
  again = _write_run(tmp_path / "2", 2, ["t0"])
  with pytest.raises(UserError, match="asked in two folds"):
    pool_folds([read_run(folder, "test") for folder in (*folders, again)])


def test_temperature_is_found_again():
  rng = np.random.default_rng(0)
  true = rng.dirichlet(np.full(5, 0.5), 4000)
  labels = (rng.random((4000, 1)) > true.cumsum(1)).sum(1)
  sure = apply_temperature(true, 0.5)  # twice too sure
  assert fit_temperature(sure, labels) == pytest.approx(2, rel=0.06)
  np.testing.assert_allclose(apply_temperature(sure, 2), true, atol=1e-6)
  fitted = cross_fitted(sure, labels, np.arange(4000) // 4)
  np.testing.assert_allclose(fitted, true, atol=0.05)
  limit = perfect_calibration_error(fitted, draws=200)
  assert expected_calibration_error(reliability(fitted, labels)) < limit
  assert expected_calibration_error(reliability(sure, labels)) > 3 * limit


def test_a_perfect_model_stays_below_the_limit_in_95_percent_of_draws():
  rng = np.random.default_rng(1)
  p = rng.dirichlet(np.ones(4), 150)
  limit = perfect_calibration_error(p, draws=1000)
  errors = [
    expected_calibration_error(reliability(p, (rng.random((150, 1)) > p.cumsum(1)).sum(1)))
    for _ in range(1000)
  ]
  assert 0.93 < np.mean(np.array(errors) <= limit) < 0.97


def test_cross_fitting_keeps_groups_apart():
  """A group whose labels are hopeless must not change its own temperature."""
  p = np.tile([0.7, 0.3], (40, 1))
  labels, groups = np.zeros(40, int), np.arange(40) // 8
  base = cross_fitted(p, labels, groups)
  labels[:8] = 1
  changed = cross_fitted(p, labels, groups)
  np.testing.assert_array_equal(base[:8], changed[:8])
  assert (base[8:] != changed[8:]).all()
