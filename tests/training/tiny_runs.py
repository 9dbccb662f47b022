"""A small experiment whose runs take seconds, and the commands that train it."""

import json
import os
import sys

import numpy as np

from tests.conftest import ROOT

CONFIG = """
from genre_jax.experiments import base

def get_config():
  config = base.get_config()
  config.dataset.path = "archive.npz"
  config.dataset.clip_seconds = 40 / 12.9
  config.dataset.genres = "all"
  config.frontend.n_mels = 16
  config.frontend.num_frames = 16
  config.split.name = "random_tracks"
  config.split.num_folds = 4
  config.model.name = "baseline"
  with config.unlocked():
    config.model.channels = (4, 8)
  config.augment.time_masks = 1
  config.augment.time_mask_frames = 4
  config.segments.train_per_track = 2
  config.train.batch_size = 16
  config.train.epochs = 12
  config.train.eval_every_epochs = 1
  config.train.ema_decay = 0.9
  config.train.report = False
  config.train.best_metric = "nll"
  return config
"""


def write_experiment(folder):
  """Write a config and a small archive, in which high or low bands are louder."""
  rng = np.random.default_rng(0)
  names = [f"{genre}.{i:05d}" for genre in ("high", "low") for i in range(24)]
  level = rng.integers(0, 120, (48, 16, 40))
  level[:24, 8:] += 100
  level[24:, :8] += 100
  np.savez(folder / "archive.npz", log_mel=level.astype(np.uint8), names=np.array(names))
  (folder / "tiny.py").write_text(CONFIG)


def command(*arguments):
  return [sys.executable, "-m", "genre_jax.main", "--config=tiny.py", *arguments]


def environment(**more):
  return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def curves(workdir):
  lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  return [{k: v for k, v in line.items() if "second" not in k} for line in lines]
