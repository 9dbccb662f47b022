"""Tests of `genre_jax.files` and of the hint for misspelled names."""

import pathlib

from genre_jax.errors import did_you_mean
from genre_jax.files import cache_dir


def test_cache_dir_follows_xdg(monkeypatch, tmp_path):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  assert cache_dir() == tmp_path / "genre_jax"
  for ignored in ("not/absolute", "~/cache", ""):
    monkeypatch.setenv("XDG_CACHE_HOME", ignored)
    assert cache_dir() == pathlib.Path.home() / ".cache" / "genre_jax"


def test_did_you_mean():
  names = {"baseline": 1, "split_cnn": 2}
  assert did_you_mean("split_cn", names) == " (did you mean split_cnn?)"
  assert did_you_mean("quartz", names) == ""
  assert did_you_mean("quartz", names, cutoff=0.0).startswith(" (did you mean ")
