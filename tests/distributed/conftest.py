"""Small jobs, one process that decodes for all tests of a module, and a Ray cluster for all."""

import contextlib
import functools
import gc
import os
import warnings

import pytest
import soundfile

from genre_jax.data.isolated_calls import IsolatedCalls
from genre_jax.distributed import job, manifest, pool
from genre_jax.inference import load, predict_files
from tests.conftest import ROOT
from tests.inference.conftest import small_model, sound  # noqa: F401

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def model(small_model):  # noqa: F811
  """Return a loaded model with random weights."""
  return load(str(small_model))


@pytest.fixture(scope="module")
def calls():
  """Return processes that decode."""
  with IsolatedCalls(["genre_jax.inference.track_log_mel"]) as opened:
    yield opened


@contextlib.contextmanager
def _quiet_end():
  """Collect within the block what Ray leaves: processes that it started and did not wait for."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    yield
    gc.collect()


@pytest.fixture(scope="session")
def cluster():
  """Return a Ray cluster of one node with one core on this machine, which tests may add to."""
  pytest.importorskip("ray", reason="needs Ray: pip install 'genre-jax[ray]'")
  from ray.cluster_utils import Cluster

  os.environ["PYTHONPATH"], before = str(ROOT), os.environ.get("PYTHONPATH")
  started = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
  yield started
  with _quiet_end():
    started.shutdown()
  del os.environ["PYTHONPATH"]
  if before is not None:
    os.environ["PYTHONPATH"] = before


@pytest.fixture
def second_node(cluster):
  """Return a second node of the cluster; it is removed after the test, unless the test did."""
  node = cluster.add_node(**NODE)
  yield node
  with _quiet_end():
    if node in cluster.worker_nodes:
      cluster.remove_node(node)
    del node


@pytest.fixture
def songs(tmp_path):
  """Return a folder of four short files."""
  (tmp_path / "songs" / "deep").mkdir(parents=True)
  for seed, name in enumerate(("a.wav", "b.flac", "deep/c.wav", "deep/d.wav")):
    soundfile.write(tmp_path / "songs" / name, sound(2 + seed / 10, seed=seed), 8000)
  return tmp_path / "songs"


@pytest.fixture
def run(model, calls, tmp_path):
  """Return a function that runs a job in tmp_path/work on files and folders."""
  engine = functools.partial(pool.predict_all, model=model, calls=calls, workers=1)

  def run_job(*paths, engine=engine, chosen=model, retry=False, **settings):
    values = {"segments": None, "timeline": False, "min_confidence": 0.0, "partition_files": 2}
    return job.run(
      tmp_path / "work",
      manifest.settings_of(chosen, **values | settings),
      [(os.path.abspath(path), fault) for path, fault in predict_files.find_files(paths)],
      engine,
      file_seconds=60,
      num_failures=20,
      retry=retry,
    )

  run_job.engine = engine
  return run_job
