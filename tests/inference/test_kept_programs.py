"""Test that kept programs give what newly traced ones give, and are used only for their model."""

import json
import types

import jax
import numpy as np
import pytest

from genre_jax.inference import kept_programs, load, model


@pytest.fixture
def cache(tmp_path, monkeypatch):
  """Keep traced programs in an empty folder; what XLA compiles stays where it is kept already."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  monkeypatch.setattr(kept_programs, "_folder", None)
  with monkeypatch.context() as during:
    during.setattr(jax.config, "update", lambda name, value: None)
    kept_programs.keep()
  return next((tmp_path / "cache" / "genre_jax" / "compiled").iterdir())


def segments(loaded, count=5):
  shape = count, loaded.frontend.num_frames, loaded.frontend.n_mels
  log_mel = np.random.default_rng(0).normal(-30, 10, shape).astype(np.float32)
  return log_mel, np.full(count, loaded.frontend.num_frames)


def assert_equal(results, expected):
  for ours, theirs in zip(results, expected, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_results_of_traced_kept_and_damaged_programs(cache, monkeypatch, small_model):
  with monkeypatch.context() as during:
    during.setattr(kept_programs, "_folder", None)
    plain = load(str(small_model))
  assert plain.programs is None
  expected = plain.infer(*segments(plain))

  first = load(str(small_model))
  assert_equal(first.infer(*segments(first)), expected)
  (program,) = first.programs.iterdir()
  assert program.is_relative_to(cache)

  with monkeypatch.context() as during:  # both trace
    during.setattr(model, "_check_shapes", None)
    during.setattr(jax.export, "export", None)
    second = load(str(small_model))
    assert_equal(second.infer(*segments(second)), expected)

  whole = program.read_bytes()
  middle = len(whole) // 2
  for damaged in (whole[:100], whole[:middle] + bytes(500) + whole[middle + 500 :]):
    program.write_bytes(damaged)
    third = load(str(small_model))
    assert_equal(third.infer(*segments(third)), expected)
    assert program.stat().st_size > 1000 and program.read_bytes() != damaged
  assert list(first.programs.iterdir()) == [program]

  with monkeypatch.context() as during:  # as on a backend with operations that JAX cannot export
    during.setattr(jax.export, "export", None)
    program.unlink()
    fourth = load(str(small_model))
    assert_equal(fourth.infer(*segments(fourth)), expected)


def test_another_model_code_or_setting_has_other_programs(
  cache, small_model, tmp_path, monkeypatch
):
  metadata = json.loads((small_model / "model.json").read_text())
  folder = kept_programs.folder_of(metadata)
  assert folder == kept_programs.folder_of(dict(metadata))
  assert folder != kept_programs.folder_of({**metadata, "weights_sha256": "0"})
  assert folder != kept_programs.folder_of({**metadata, "frontend": {}})
  package = tmp_path / "genre_jax"
  for name in kept_programs.TRACED_CODE:
    (package / name).parent.mkdir(parents=True, exist_ok=True)
  code = package / "data" / "mel.py"
  code.parent.mkdir()
  folders = set()
  monkeypatch.setattr(kept_programs.genre_jax, "__file__", str(package / "__init__.py"))
  (package / "inference" / "model.py").write_text("")
  for text in ("a = 1", "a = 2"):
    code.write_text(text)
    folders.add(kept_programs.folder_of(metadata))
  assert len(folders) == 2
  monkeypatch.undo()
  with jax.default_matmul_precision("bfloat16"):
    assert folder != kept_programs.folder_of(metadata)
  del metadata["weights_sha256"]  # as of a run, whose checkpoint may change
  assert kept_programs.folder_of(metadata) is None


def test_a_cache_that_cannot_be_written_is_not_used(cache, small_model):
  loaded = load(str(small_model))
  cache.rmdir()
  assert len(loaded.infer(*segments(loaded))[0]) == 5
  assert not loaded.programs.exists()


@pytest.mark.parametrize("error", [None, OSError, TypeError, AttributeError])
def test_memory_is_returned_where_the_c_library_can(monkeypatch, error):
  called = []

  def library(name):
    if error:
      raise error
    return types.SimpleNamespace(malloc_trim=called.append)

  monkeypatch.setattr(kept_programs.ctypes, "CDLL", library)
  kept_programs._return_memory()
  assert len(called) == (0 if error else 1)
