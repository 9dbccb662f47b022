"""Test tables of runs: a line for each split, pooled folds, and replacing a block of a page."""

import json

import pytest
from absl import flags
from absl.testing import flagsaver

from genre_jax import table
from genre_jax.errors import UserError


@pytest.fixture(autouse=True)
def parsed():
  flags.FLAGS(["table"])


@pytest.fixture
def folds(tmp_path):
  """Return two folds of one experiment: 3 of 4 and 1 of 4 tracks correct."""
  for fold, right in enumerate((3, 1)):
    folder = tmp_path / f"fold{fold}"
    (folder / "eval").mkdir(parents=True)
    (folder / "config.json").write_text(
      json.dumps(
        {
          "config": {
            "task": "single_label",
            "seed": 0,
            "model": {"name": "baseline"},
            "split": {"name": "artist_kfold", "fold": fold, "num_folds": 5},
            "train": {"batch_size": 30},
          }
        }
      )
    )
    (folder / "metrics.jsonl").write_text(
      "".join(
        json.dumps({"step": step, "train/examples_per_second": rate}) + "\n"
        for step, rate in ((10, 5.0), (30, 10.0))
      )
    )
    metrics = {"n": 4, "accuracy": right / 4, "ci95": [0.1, 0.9]}
    report = {
      "split": "artist_kfold",
      "leaky": False,
      "classes": ["a", "b"],
      "parameters": 1234,
      "segment": metrics,
      "track": metrics,
      "seed": 0,
    }
    none = {**report, "track": {"n": 0}, "segment": {"n": 0}}
    (folder / "eval" / "valid.json").write_text(json.dumps(none))
    (folder / "eval" / "test.json").write_text(json.dumps(report))
    lines = ["track,group,label,prediction,p_a,p_b"]
    lines += [f"t{fold}{i},g{fold}{i},a,{'a' if i < right else 'b'},0.5,0.5" for i in range(4)]
    (folder / "eval" / "test.csv").write_text("\n".join(lines) + "\n")
  return [tmp_path / "fold0", tmp_path / "fold1"]


def test_a_line_for_each_split_and_one_for_all_folds(folds, capsys):
  table.main(["table", *map(str, folds)])
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 2 + 2 + 1
  assert "| fold0 | baseline | 1,234 | artist_kfold | test | 4 | 75.0 [10.0, 90.0] |" in lines[2]
  assert lines[2].endswith("| 2.0 |")  # 10 x 30 / 5 s and 20 x 30 / 10 s
  assert lines[4].startswith("| 2 of 5 folds, seed 0 | baseline |")
  assert "| 8 | 50.0 [" in lines[4] and lines[4].endswith("| 4.0 |")


def test_a_page_gets_the_table(folds, tmp_path):
  page = tmp_path / "page.md"
  page.write_text("before\n<!-- results -->\nstale\n<!-- /results -->\nafter\n")
  with flagsaver.flagsaver(into=str(page)):
    table.main(["table", str(folds[0])])
  text = page.read_text()
  assert text.startswith("before\n<!-- results -->\n| run |") and "stale" not in text
  assert text.endswith("<!-- /results -->\nafter\n")


def test_mistakes(tmp_path):
  with pytest.raises(UserError, match="give one or more"):
    table.main(["table"])
  with pytest.raises(UserError, match="contains no evaluated run"):
    table.main(["table", str(tmp_path)])
