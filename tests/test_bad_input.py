"""Test user errors of commands: one clear message, exit status 2, no traceback."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from ml_collections import ConfigDict

from genre_jax.errors import UserError
from genre_jax.studies.run import train_and_evaluate
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

TINY = """
from genre_jax.experiments import base

def get_config():
  config = base.get_config()
  config.split.name = "grouped_kfold"
  config.split.num_folds = 3
  config.frontend.n_mels = 16
  config.frontend.num_frames = 16
  config.model.name = "baseline"
  with config.unlocked():
    config.model.channels = (4,)
  config.train.epochs = 1
  config.train.report = False
  return config
"""


def _run(folder, *arguments, module="main", prefix=()):
  return subprocess.run(
    [*prefix, sys.executable, "-m", f"genre_jax.{module}", *arguments],
    cwd=folder,
    capture_output=True,
    text=True,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
  )


def _error(folder, *arguments, **keywords):
  done = _run(folder, *arguments, **keywords)
  assert done.returncode == 2, done.stdout + done.stderr
  assert "Traceback" not in done.stderr and "error: " in done.stderr, done.stderr
  return done.stderr


@pytest.fixture
def folder(tmp_path):
  (tmp_path / "tiny.py").write_text(TINY)
  return tmp_path


def _music(folder, count=6, seconds=1.0):
  rng = np.random.default_rng(0)
  for genre in ("a", "b"):
    (folder / "music" / genre).mkdir(parents=True)
    for i in range(count):
      sound = rng.normal(size=int(22050 * seconds)) * 0.1
      soundfile.write(folder / "music" / genre / f"{i}.wav", sound, 22050)
  return "--config.dataset.path=music"


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    ((), "--config is missing"),
    (("--config=absent.py",), "absent.py"),
    (("--config=tiny.py", "--config.optimizer.learning_rat=1"), "Did you mean learning_rate"),
    (("--config=tiny.py", "--config.optimiser.learning_rate=1"), "Did you mean optimizer"),
    (("--config=tiny.py", "--config.train.epochs=many"), "many"),
    (("--config=tiny.py", "--mode=trian"), "trian"),
    (("--config=tiny.py", "--workdri=x"), "workdri"),
    (("--config=tiny.py", "extra"), "extra"),
    (("--config=music/a",), "music/a"),
    (("--config=tiny.py:small",), "tiny.py"),
  ],
)
def test_flags(folder, arguments, words):
  assert words in _error(folder, *arguments)


def test_an_address_without_ray(folder):
  message = _error(folder, "--config=tiny.py", "--address=local", module="prepare")
  assert "--address needs --engine=ray" in message


def _train(folder, monkeypatch, mode="train_and_eval", path="", **changes):
  """Run an experiment in this process, in `folder`; field names have __ for dots."""
  monkeypatch.chdir(folder)
  names: dict = {}
  exec(TINY, names)  # the config of the commands above
  config = names["get_config"]()
  config.dataset.path = path
  config.dataset.workers = 1
  for name, value in changes.items():
    *groups, field = name.split("__")
    target = config
    for group in groups:
      target = target[group]
    target[field] = value
  return train_and_evaluate(config, "run", mode=mode)


@pytest.mark.parametrize(
  ("field", "value", "words"),
  [
    ("task", "ranking", "config.task=ranking"),
    ("train__epochs", 0, "config.train.epochs=0"),
    ("train__batch_size", -1, "config.train.batch_size=-1"),
    ("train__best_metric", "loss", "config.train.best_metric=loss"),
    ("segments__train", "some", "config.segments.train=some"),
    ("dataset__source", "mp3", "config.dataset.source=mp3"),
    ("dataset__genres", "a,polka", "polka"),
    ("dataset__path", "absent", "absent"),
    ("dataset__clip_seconds", float("nan"), "config.dataset.clip_seconds=nan"),
    ("frontend__hop_length", 0, "config.frontend.hop_length"),
    ("model__name", "axis_featuress", "did you mean axis_features"),
    ("split__name", "artist_fold", "artist_kfold"),
    ("split__fold", 9, "config.split.fold"),
    ("split__name", "leaky_segments", "--config.segments.train=fixed"),
    ("optimizer__name", "lion", "config.optimizer.name=lion"),
    ("optimizer__schedule", "step", "config.optimizer.schedule=step"),
    ("init_from", "absent", "no checkpoint here"),
  ],
)
def test_config_values(folder, monkeypatch, field, value, words):
  _music(folder)
  with pytest.raises(UserError, match=re.escape(words)):
    _train(folder, monkeypatch, path="music", **{field: value})
  assert not (folder / "run" / "checkpoints").exists() or field == "init_from"


def test_segments_too_small_for_the_network(folder, monkeypatch):
  _music(folder)
  with pytest.raises(
    UserError, match="--config.frontend.num_frames=16 x --config.frontend.n_mels=16"
  ):
    _train(
      folder,
      monkeypatch,
      path="music",
      model=ConfigDict({"name": "split_cnn"}),
      frontend__n_mels=16,
    )


def test_nothing_to_evaluate(folder, monkeypatch):
  with pytest.raises(UserError, match="no checkpoint here"):
    _train(folder, monkeypatch, mode="eval")


def test_empty_folder(folder, monkeypatch):
  (folder / "empty").mkdir()
  with pytest.raises(UserError, match="empty"):
    _train(folder, monkeypatch, path="empty")


def test_a_genre_with_one_file(folder, monkeypatch):
  _music(folder)
  for i in range(1, 6):
    (folder / "music" / "b" / f"{i}.wav").unlink()
  with pytest.raises(UserError, match="'b'"):
    _train(folder, monkeypatch, path="music")


def test_all_kinds_of_bad_files_are_skipped_and_named(folder, monkeypatch, capsys):
  """Train on empty, cut, silent, NaN, 8-channel and text files, odd rates and a short clip."""
  _music(folder)
  music = folder / "music" / "a"
  tone = 0.1 * np.sin(np.arange(22050) / 10)
  (music / "empty.wav").write_bytes(b"")
  (music / "text.mp3").write_text("no sound here")
  soundfile.write(music / "whole.flac", tone, 22050)
  whole = (music / "whole.flac").read_bytes()
  (music / "cut.flac").write_bytes(whole[: len(whole) // 2])
  soundfile.write(music / "silent.wav", np.zeros(22050), 22050)
  soundfile.write(music / "nan.wav", np.full(22050, np.nan), 22050, subtype="FLOAT")
  soundfile.write(music / "eight.wav", np.stack([tone] * 8, axis=1), 22050)
  soundfile.write(music / "slow.wav", tone, 4000)
  soundfile.write(music / "fast.wav", np.resize(tone, 192000), 192000)
  soundfile.write(music / "short.wav", tone[:3000], 22050)
  _train(folder, monkeypatch, path="music")
  out = capsys.readouterr().out
  for name in ("empty.wav", "text.mp3", "cut.flac", "silent.wav", "nan.wav"):
    assert f"skipped a/{name}: " in out, out
  assert "prepared 17 tracks" in out and "skipped 5" in out
  assert "track accuracy" in out


@pytest.mark.parametrize("kind", ["shape", "dtype", "objects", "names", "text", "rate"])
def test_bad_archives(folder, monkeypatch, kind):
  level = np.zeros((12, 16, 40), np.uint8)
  names = np.array([f"{g}.{i:05d}" for g in "ab" for i in range(6)])
  if kind == "text":
    (folder / "x.npz").write_text("not an archive")
  elif kind == "objects":
    np.savez(folder / "x.npz", log_mel=np.array([level, None], dtype=object), names=names)
  else:
    np.savez(
      folder / "x.npz",
      names=names[:5] if kind == "names" else names,
      log_mel=level[0]
      if kind == "shape"
      else level.astype(np.float32)
      if kind == "dtype"
      else level,
    )
  with pytest.raises(UserError, match="--config.frontend." if kind == "rate" else "x.npz"):
    _train(folder, monkeypatch, path="x.npz", dataset__clip_seconds=30.0 if kind == "rate" else 3.1)


def _can_mount():
  return (
    os.geteuid() == 0
    and shutil.which("unshare")
    and subprocess.run(
      ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True
    ).returncode
    == 0
  )


needs_mount = pytest.mark.skipif(not _can_mount(), reason="needs root and unshare -m, for a tmpfs")


@needs_mount
@pytest.mark.parametrize(
  ("options", "flag"),
  [
    ("size=48k", "--config.dataset.prepared_dir=disk/prepared"),
    ("size=48k", "--workdir=disk/run"),
    ("ro", "--config.dataset.prepared_dir=disk/prepared"),
    ("ro", "--workdir=disk/run"),
  ],
)
def test_a_full_or_read_only_disk(folder, options, flag):
  """Check that the run names the path it cannot write and keeps prepared data."""
  path = _music(folder, count=12, seconds=20.0)
  (folder / "disk").mkdir()
  mounted = f'mount -t tmpfs -o {options} none disk && exec "$@"'
  inside = ("unshare", "-m", "sh", "-c", mounted, "sh")
  message = _error(folder, "--config=tiny.py", path, flag, prefix=inside)
  assert "disk" in message and "cannot write" in message
  if flag.startswith("--workdir"):
    assert (folder / "prepared").is_dir()  # prepared data on another disk is kept
