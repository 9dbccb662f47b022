"""What all tests share: strict dtypes and ranks, a key, and where the real recordings are."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "standard")

ROOT = pathlib.Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture
def rng():
  """A key."""
  return jax.random.key(0)


@pytest.fixture(scope="session")
def gtzan():
  """The folder of real GTZAN recordings; tests that need it skip where it is absent."""
  if not (SHARED / "gtzan" / "log_mel.npz").exists():
    pytest.skip("needs the real recordings in ../shared/gtzan")
  return SHARED / "gtzan"
