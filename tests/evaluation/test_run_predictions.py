"""Test predictions that finished runs stored: folds are pooled."""

import csv
import json

import pytest

from genre_jax.errors import UserError
from genre_jax.evaluation.run_predictions import pool_folds, read_run


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


def test_folds_become_one_run_in_which_each_track_is_evaluated_once(tmp_path):
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
  with pytest.raises(UserError, match="evaluated in two folds"):
    pool_folds([read_run(folder, "test") for folder in (*folders, again)])
