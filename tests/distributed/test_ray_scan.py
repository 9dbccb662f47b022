"""Test library scans on a Ray cluster: the rows of a local scan, whatever is killed."""

import contextlib
import os
import pathlib
import shutil
import sqlite3

import numpy as np
import pytest
import soundfile

from genre_jax.distributed import ray_tasks
from genre_jax.inference.model_dir import model_hash
from genre_jax.library import database, scan
from genre_jax.library.read_song import read_songs
from tests.inference.conftest import small_model, sound  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings

FILES = "SELECT path, size, mtime_ns, inode, sound, seconds, tags, status, error FROM file"
ANALYSES = (
  "SELECT path, hash, label, confidence, probabilities, embedding FROM analysis"
  " JOIN file ON file.id = analysis.file JOIN model ON model.id = analysis.model"
)


def _rows(path, query):
  with contextlib.closing(sqlite3.connect(path)) as db:
    return db.execute(f"{query} ORDER BY path").fetchall()


def test_a_killed_node_gives_the_rows_of_a_local_scan(
  cluster,
  second_node,
  tmp_path,
  small_model,  # noqa: F811
  model,
  calls,
  capsys,
):
  songs = tmp_path / "songs"
  songs.mkdir()
  for seed in range(40):
    soundfile.write(songs / f"{seed}.flac", sound(10, seed=seed), 8000)
  shutil.copyfile(songs / "0.flac", songs / "copy.flac")
  (songs / "bad.wav").write_text("words")

  everywhere = str(small_model), "", model_hash(model)

  def read_and_kill(paths, then):
    found = ray_tasks.read_songs(paths, everywhere, 60.0, 2, address=cluster.address)
    for number, song in enumerate(found):
      if number == 8:
        cluster.remove_node(second_node, allow_graceful=False)
      yield song

  def read(paths, then):
    return read_songs(paths, model.frontend, calls, 1, 60.0, then)

  for name, reader in (("ray.db", read_and_kill), ("local.db", read)):
    with contextlib.closing(database.open_database(tmp_path / name, create=True)) as db:
      assert scan.run(db, model, [str(songs)], reader, retry=False) == 1
    out = capsys.readouterr().out
    assert "42 files: " in out and "1 failed" in out
  assert second_node not in cluster.worker_nodes
  expected = _rows(tmp_path / "local.db", FILES)
  assert len(expected) == 42 and _rows(tmp_path / "ray.db", FILES) == expected
  expected, found = (_rows(tmp_path / name, ANALYSES) for name in ("local.db", "ray.db"))
  assert len(expected) == 41 and [row[:3] for row in found] == [row[:3] for row in expected]
  for theirs, ours in zip(found, expected, strict=True):
    assert theirs[3] == pytest.approx(ours[3], abs=1e-5)
    # A program that is kept and one that is not differ by rounding.
    for column, dtype, atol in ((4, np.float32, 1e-5), (5, np.float16, 0.02)):
      np.testing.assert_allclose(
        *(np.frombuffer(row[column], dtype).astype(float) for row in (theirs, ours)),
        rtol=0.002,
        atol=atol,
      )
  with contextlib.closing(database.open_database(tmp_path / "ray.db")) as db:
    assert scan.run(db, model, [str(songs)], read, retry=False) == 0
  assert "42 files: 41 unchanged, 1 failed before" in capsys.readouterr().out


def deadly(model, file_seconds, paths):
  """Read songs, or end the process at the file `deadly.wav`; runs on the cluster."""
  if any(path.endswith("deadly.wav") for path in paths):
    with open(pathlib.Path(paths[0]).parent / "tries", "a") as file:
      file.write(f"{len(paths)}\n")
    os._exit(1)
  return _real(model, file_seconds, paths)


_real = ray_tasks.songs_task


def test_a_file_that_ends_ray_workers_is_a_failed_one(
  cluster,
  tmp_path,
  small_model,  # noqa: F811
  model,
  monkeypatch,
  capsys,
):
  monkeypatch.setattr(ray_tasks, "songs_task", deadly)
  for seed, name in enumerate(("a.wav", "deadly.wav", "e.wav")):
    soundfile.write(tmp_path / name, sound(2, seed=seed), 8000)

  def read(paths, then):
    everywhere = str(small_model), "", model_hash(model)
    return ray_tasks.read_songs(paths, everywhere, 60.0, 9, address=cluster.address)

  with contextlib.closing(database.open_database(tmp_path / "a.db", create=True)) as db:
    assert scan.run(db, model, [str(tmp_path)], read, retry=False) == 1
  assert "3 files: 2 analyzed, 1 failed" in capsys.readouterr().out
  found = [(row[0].rpartition(b"/")[2], *row[-2:]) for row in _rows(tmp_path / "a.db", FILES)]
  expected = [(b"a.wav", "ok", ""), (b"deadly.wav", "failed", ray_tasks.DEADLY)]
  assert found == [*expected, (b"e.wav", "ok", "")]
  assert (tmp_path / "tries").read_text().split() == ["3", "3", "1", "1"]
