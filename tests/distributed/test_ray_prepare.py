"""Test `prepare` on a Ray cluster: the set of one machine, byte for byte."""

import functools
import os

import pytest
import soundfile

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.prepared import prepare
from genre_jax.data.source import Clip
from genre_jax.data.sources.registry import open_source
from genre_jax.distributed import ray_tasks
from genre_jax.errors import UserError
from tests.inference.conftest import sound

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings


@pytest.fixture
def music(tmp_path):
  """Return a folder of 70 short files of two genres, one of them damaged: three shards."""
  for seed in range(70):
    path = tmp_path / "music" / ("high", "low")[seed % 2] / f"{seed}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound(1 + seed / 100, seed=seed), 8000)
  (tmp_path / "music" / "low" / "69.wav").write_text("words")
  return tmp_path / "music"


def test_a_set_of_a_cluster_equals_one_of_this_machine(cluster, music, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)  # paths of files may be relative
  frontend = FrontendConfig(n_mels=32, hop_length=512, frame_stride=1.0, num_frames=20)
  source = open_source("auto", "music", "", groups="", clip_seconds=30.0, frontend=frontend)
  expected = prepare(source, frontend, "pool", workers=1)
  engine = functools.partial(ray_tasks.write_shards, address=cluster.address)
  made = prepare(source, frontend, "ray", engine=engine)
  assert len(made.clips) == 69 and made.skipped == expected.skipped and len(made.skipped) == 1
  assert len(list(made.path.glob("*.tfrecord-*"))) == 3
  names = sorted(path.name for path in expected.path.iterdir())
  assert sorted(path.name for path in made.path.iterdir()) == names
  for name in names:
    assert (made.path / name).read_bytes() == (expected.path / name).read_bytes(), name


def test_a_shard_that_ends_workers_names_its_tracks(cluster, tmp_path, monkeypatch):
  monkeypatch.setattr(ray_tasks, "shard_task", deadly)
  clips = [Clip(name, name, ()) for name in ("first.wav", "last.wav")]
  with pytest.raises(UserError, match="prepared first.wav to last.wav ended 2 times"):
    list(ray_tasks.write_shards(None, [(0, clips)], address=cluster.address))


def deadly(*_):
  """End the process; runs on the cluster."""
  os._exit(1)
