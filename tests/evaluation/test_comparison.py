"""Test the comparison of runs: which are pooled, which are refused, and what is written."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

from genre_jax.errors import UserError
from genre_jax.evaluation import comparison
from genre_jax.evaluation.run_predictions import evaluation_file, read_run
from tests.conftest import ROOT

CLASSES = ("pop", "rock")


def _run(
  folder,
  *,
  seed=0,
  rate=0.7,
  model="baseline",
  tracks=40,
  fold=0,
  split="validation",
  change=None,
  task="single_label",
):
  """Write the files of a run, in which a share `rate` of the predictions is correct."""
  rng = np.random.default_rng([seed, int(100 * rate)])
  (folder / "eval").mkdir(parents=True)
  config = {
    "seed": seed,
    "task": task,
    "model": {"name": model},
    "split": {"name": "x", "fold": fold},
    "dataset": {"path": str(folder)},
  }
  (folder / "config.json").write_text(json.dumps({"config": config, "dataset_id": "m"}))
  for name in ("validation", "test"):
    n = tracks if name == split else 0
    evaluation_file(folder, name).write_text(
      json.dumps({"split": "x", "leaky": False, "classes": CLASSES, "track": {"n": n}})
    )
    with open(evaluation_file(folder, name, "track"), "w", newline="") as file:
      writer = csv.writer(file)
      writer.writerow(["track", "group", "label", "prediction", *(f"p_{c}" for c in CLASSES)])
      for i in range(n):
        label = i % 2
        prediction = label if rng.random() < rate else 1 - label
        p = [0.2, 0.2]
        p[prediction] = 0.8
        row = [f"t{i:03d}", f"artist-{i // 4}-{label}", CLASSES[label], CLASSES[prediction], *p]
        writer.writerow(change(row) if change else row)
  return folder


def test_runs_that_differ_only_in_the_seed_are_one_system(tmp_path):
  folders = [_run(tmp_path / f"a_seed{seed}", seed=seed, rate=0.9) for seed in range(3)]
  folders += [_run(tmp_path / "b", seed=0, rate=0.5, model="axis_features")]
  a, b = comparison.read_systems(folders, "validation")
  assert (a.name, len(a.runs), b.name, len(b.runs)) == ("a", 3, "b", 1)
  (pair,) = comparison.compare([a, b])
  assert pair.difference == pytest.approx(a.correct.mean() - b.correct.mean())
  assert pair.low < pair.difference < pair.high
  assert pair.only_a == (a.ensemble_correct & ~b.ensemble_correct).sum()
  assert pair.p == pair.p_holm < 0.05
  text = comparison.to_markdown([a, b], [pair], "validation")
  assert f"| a | b | {100 * pair.difference:+.1f} [" in text
  assert "contains no variance over seeds" in text and "accuracies on it are too high" in text


def test_systems_get_unique_names(tmp_path):
  folders = [
    _run(tmp_path / "x" / "run", model="one"),
    _run(tmp_path / "y" / "run", model="two"),
    _run(tmp_path / "model=three,seed=0", model="three"),
    _run(tmp_path / "model=three,seed=1", model="three", seed=1),
  ]
  names = [system.name for system in comparison.read_systems(folders, "validation")]
  assert names == ["run (1)", "run (2)", "model=three"]


@pytest.mark.parametrize(
  "other,message",
  [
    (dict(tracks=36), "4 that only one has"),
    (dict(fold=1), "split.fold"),
    (dict(split="test"), "no track in the validation split"),
    (dict(change=lambda row: [row[0], "elsewhere", *row[2:]]), "the group of t000"),
    (dict(change=lambda row: [*row[:2], "rock", *row[3:]]), "the label of t000"),
    (dict(task="multi_label"), "has the task multi_label"),
    (dict(model="baseline", seed=0), "are the same run"),
    (dict(model="baseline", seed=1), "differ only in the seed"),
  ],
)
def test_runs_that_cannot_be_compared_are_refused(tmp_path, other, message):
  folders = [_run(tmp_path / "a"), _run(tmp_path / "b", **{"model": "axis_features", **other})]
  with pytest.raises(UserError, match=message):
    comparison.read_systems(folders, "validation")


def test_a_folder_without_a_run_is_refused(tmp_path):
  with pytest.raises(UserError, match="contains no evaluated run"):
    read_run(tmp_path, "validation")
  folder = _run(tmp_path / "a")
  (folder / "eval" / "valid.csv").write_text("track,group\nx,y\n")
  with pytest.raises(UserError, match="contains no evaluated run"):
    read_run(folder, "validation")


def test_the_test_split_is_chosen_if_every_run_has_it(tmp_path):
  both = [_run(tmp_path / "a", split="test"), _run(tmp_path / "b", split="test")]
  assert comparison.choose_split(both) == "test"
  assert comparison.choose_split([*both, _run(tmp_path / "c")]) == "validation"
  assert comparison.choose_split([tmp_path / "nothing"]) == "validation"


@pytest.mark.slow
def test_the_command(tmp_path):
  for i, rate in enumerate((0.9, 0.6, 0.5)):
    _run(tmp_path / f"run_{i}", rate=rate, model=f"model{i}")

  def command(*arguments):
    return subprocess.run(
      [sys.executable, "-m", "genre_jax.compare", *arguments],
      cwd=ROOT,
      capture_output=True,
      text=True,
    )

  out = tmp_path / "out"
  done = command(*(str(tmp_path / f"run_{i}") for i in range(3)), f"--out={out}")
  assert done.returncode == 0, done.stderr
  assert (out / "compare.md").read_text() in done.stdout
  content = json.loads((out / "compare.json").read_text())
  assert content["split"] == "validation" and len(content["pairs"]) == 3
  assert all(pair["p_holm"] >= pair["p"] for pair in content["pairs"])
  assert (out / "forest.png").read_bytes().startswith(b"\x89PNG")
  assert "</svg>" in (out / "forest.svg").read_text()
  for arguments, message in (
    ([str(tmp_path / "run_0")], "two or more run folders"),
    ([str(tmp_path / "run_0"), "nowhere"], "contains no evaluated run"),
  ):
    refused = command(*arguments, f"--out={out}")
    assert refused.returncode == 2 and message in refused.stderr
    assert "Traceback" not in refused.stderr
