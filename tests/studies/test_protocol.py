"""Test protocols: runs are made once, results are stored and merged."""

import json
import subprocess
import sys

import librosa
import numpy as np
import pytest

from genre_jax.data.sources.gtzan.tracks import published_lists
from genre_jax.errors import UserError
from genre_jax.studies import (
  corpora,
  mfcc_reference,
  protocol_runs,
  protocols,
  results_page,
  stored_results,
)
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def archive(tmp_path):
  """Return a folder with random spectrograms of four genres, 12 train and 6 validation each."""
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
  """Return a protocol of three entries that cost little."""
  quick = {
    "train.epochs": "1",
    "segments.train_per_track": "1",
    "segments.eval_per_track": "1",
    "frontend.num_frames": "16",
    "model.name": "baseline",
    "dataset.prepared_dir": str(prepared),
  }
  reference = {"model.name": mfcc_reference.NAME, "dataset.prepared_dir": str(prepared)}
  return protocols.Protocol(
    "P3 in small",
    "Its description.",
    "log_mel.npz",
    "validation",
    "track",
    (
      protocols.Entry("first", "axis_features", 1, (), quick),
      protocols.Entry("second, own", "axis_features", 3, (), quick),
      protocols.Entry("mfcc", "axis_features", 1, (), reference),
    ),
    pairs=(("mfcc", "first"), ("mfcc", "second, own")),
    primary=(("first", "mfcc"),),
  )


def test_runs_are_made_once_and_results_are_stored(archive, monkeypatch, capsys):
  monkeypatch.setitem(protocols.PROTOCOLS, "P3", _small(archive / "prepared"))
  monkeypatch.chdir(ROOT)
  page, stored = archive / "docs" / "protocols.md", archive / "results" / "P3.json"
  settings = dict(
    data=str(archive),
    workdir=str(archive / "runs"),
    results=str(archive / "results"),
    into=str(page),
  )
  chosen = dict(entries="first,mfcc")
  assert protocol_runs.run_protocol("P3", **settings, **chosen) == 0
  before = {
    path: path.stat().st_mtime_ns
    for path in archive.glob("runs/**/*.csv")
    if path.parent.name == "eval"
  }
  assert len(before) == 2 * 4  # tracks and segments of two splits, two runs
  results = json.loads(stored.read_text())
  assert [row["entry"] for row in results["rows"]] == ["first", "mfcc"]
  for row in results["rows"]:
    low, high = row["metrics"]["accuracy"]["ci95"]
    assert row["seeds"] == 1 and row["n"] == 24 and row["runs_available"] and row["commits"]
    assert 0 <= low <= row["metrics"]["accuracy"]["value"] <= high <= 1 and row["minutes"] > 0
  assert results["rows"][1]["parameters"] == 4 * (2 * mfcc_reference.COEFFICIENTS + 1)
  pairs = [(item["reference"], item["entry"], item["kind"]) for item in results["differences"]]
  assert pairs == [("first", "mfcc", "primary"), ("mfcc", "first", "exploratory")]
  assert results["calibration"]["entry"] == "first"
  text = page.read_text()
  lines = [line for line in text.splitlines() if line.startswith("| ")]
  first = next(line for line in lines if line.startswith("| first |"))
  assert "| 1 | 24 |" in first and "[" in first
  assert any(line.startswith("| mfcc | ") for line in lines)
  assert "Not run: second, own." in text
  assert "first minus" in text and "mfcc minus" in text and "exploratory" in text
  assert "No seed of any of 2 networks" in text
  assert "Calibration of first, mean over 1 seeds, n = 24" in text
  capsys.readouterr()
  assert protocol_runs.run_protocol("P3", **settings, **chosen) == 0
  assert "1 of 1 runs were finished before" in capsys.readouterr().out
  assert before == {path: path.stat().st_mtime_ns for path in before}
  assert page.read_text() == text and json.loads(stored.read_text()) == results

  elsewhere = {**settings, "workdir": str(archive / "elsewhere")}
  assert protocol_runs.run_protocol("P3", **elsewhere, entries="none") == 0
  assert page.read_text() == text, "without runs the stored results are kept"
  kept = json.loads(stored.read_text())
  assert not any(item["runs_available"] for item in kept["rows"] + kept["differences"])

  for into, place in (("log_mel.npz/page.md", "log_mel.npz"), ("results", "results")):
    changed = {**settings, "into": str(archive / into), "entries": "second-own"}
    with pytest.raises(UserError, match=f"cannot write to .*/{place}"):
      protocol_runs.run_protocol("P3", **changed)
  with np.load(archive / "log_mel.npz") as old:
    np.savez(archive / "log_mel.npz", names=old["names"], log_mel=255 - old["log_mel"])
  with pytest.raises(UserError, match="was trained on other clips"):
    protocol_runs.run_protocol("P3", **settings, entries="none")


def _row(entry, **fields):
  return {"entry": entry, "runs_available": True, **fields}


def test_results_without_available_runs_are_kept_and_marked():
  stored = {
    "rows": [_row("a", seeds=1), _row("b", seeds=3)],
    "differences": [_row("b", reference="a", mcnemar_p=0.5)],
    "never_correct": {"entries": ["a", "b"], "count": 4, "runs_available": True},
    "calibration": {"entry": "a", "n": 10, "runs_available": True},
  }
  computed = {
    "rows": [_row("a", seeds=2), _row("c", seeds=1)],
    "differences": [_row("c", reference="a", mcnemar_p=0.1)],
    "never_correct": {"entries": ["a", "c"], "count": 2, "runs_available": True},
    "calibration": {"entry": "a", "n": 20, "runs_available": True},
  }
  merged = stored_results.merge_results(stored, computed)
  rows = {row["entry"]: (row["seeds"], row["runs_available"]) for row in merged["rows"]}
  assert rows == {"a": (2, True), "b": (3, False), "c": (1, True)}
  differences = {item["entry"]: item["runs_available"] for item in merged["differences"]}
  assert differences == {"b": False, "c": True}
  assert merged["never_correct"] == {**stored["never_correct"], "runs_available": False}
  assert merged["calibration"]["n"] == 20
  empty = {"rows": [], "differences": []}
  again = stored_results.merge_results(merged, empty)
  assert stored_results.merge_results(again, empty) == again
  assert stored_results.merge_results({}, computed)["rows"] == computed["rows"]


def test_damaged_results_are_named(tmp_path):
  (tmp_path / "P2.json").write_text('{"rows": [')
  with pytest.raises(UserError, match="P2.json is not a file of results"):
    protocol_runs.write_page(str(tmp_path), str(tmp_path / "page.md"))


def test_each_track_is_right_once():
  stored = {"rows": [], "never_correct": {"entries": ["a", "b"], "count": 0, "n": 3, "tracks": {}}}
  assert "Each of the 3 tracks is classified correctly" in results_page.section("P3", stored)


def test_the_page_is_that_of_the_stored_results(tmp_path):
  protocol_runs.write_page(str(ROOT / "results"), str(tmp_path / "page.md"))
  text = (tmp_path / "page.md").read_text()
  assert text == (ROOT / "docs" / "results" / "protocols.md").read_text()
  lines = [line for line in text.splitlines() if not line.startswith("|")]
  assert max(map(len, lines)) <= 100


def test_mfcc_are_librosas():
  log_mel = np.random.default_rng(0).normal(-30, 10, (50, 128)).astype(np.float32)
  expected = librosa.feature.mfcc(S=log_mel.T, n_mfcc=mfcc_reference.COEFFICIENTS).T
  np.testing.assert_allclose(mfcc_reference.mfcc(log_mel), expected, rtol=1e-4, atol=1e-3)
  summary = mfcc_reference.summarize_track(log_mel)
  np.testing.assert_allclose(summary[:20], expected.mean(0), rtol=1e-4, atol=1e-3)
  np.testing.assert_allclose(summary[20:], expected.std(0), rtol=1e-4, atol=1e-3)


def test_the_reference_separates_what_is_linear_and_gives_absent_classes_no_probability():
  rng = np.random.default_rng(0)
  labels = np.repeat([0, 2], 40)
  features = rng.normal(0, 0.1, (80, 6)) + labels[:, None]
  features[:, 5] = 3.0  # a constant has no deviation
  p = mfcc_reference.fit_and_predict(features[::2], labels[::2], features[1::2], 3)
  assert (p.argmax(1) == labels[1::2]).all() and (p[:, 1] == 0).all()
  np.testing.assert_allclose(p.sum(1), 1)


def test_a_corpus_is_found_by_flag_or_variable(tmp_path, monkeypatch):
  (tmp_path / "gtzan" / "audio").mkdir(parents=True)
  monkeypatch.delenv(corpora.VARIABLE, raising=False)
  with pytest.raises(UserError, match="with --data, or set GENRE_JAX_DATA"):
    corpora.find_corpus("gtzan")
  given = corpora.find_corpus("gtzan", str(tmp_path / "gtzan"), "audio")
  monkeypatch.setenv(corpora.VARIABLE, str(tmp_path))
  assert corpora.find_corpus("gtzan", "", "audio") == given == tmp_path / "gtzan" / "audio"
  with pytest.raises(UserError, match="fsdd does not exist: correct GENRE_JAX_DATA"):
    corpora.find_corpus("fsdd")


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
  places = [f"--{name}={archive / name}" for name in ("workdir", "results", "into")]
  result = subprocess.run(
    [sys.executable, "-m", "genre_jax.protocol", f"--data={archive}", *places, *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert result.returncode == 2 and message in result.stderr and "Traceback" not in result.stderr


def test_every_protocol_resolves(archive):
  for value in protocols.PROTOCOLS.values():
    runs = [m.config for entry in value.entries for m in protocols.members(entry, archive)]
    assert len({json.dumps(run, sort_keys=True) for run in runs}) == len(runs)
    names = {entry.name for entry in value.entries}
    assert all(set(pair) <= names for pair in (*value.pairs, *value.primary))
    folders = {protocols.entry_folder(archive, entry) for entry in value.entries}
    assert len(folders) == len(value.entries)
