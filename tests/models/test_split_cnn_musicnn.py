"""Test the resampling to musicnn's front end, and that musicnn's weights get no gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.mel import mel_frequencies
from genre_jax.models import split_cnn_musicnn as lib


def test_bands_are_interpolated_on_the_mel_scale():
  matrix = lib.band_matrix()
  np.testing.assert_allclose(matrix.sum(0), 1, atol=1e-6)
  centers = mel_frequencies(FrontendConfig())
  wanted = mel_frequencies(FrontendConfig(n_mels=96, fmax=8000.0))
  np.testing.assert_allclose(centers @ matrix, wanted, rtol=2e-3)


def test_the_middle_of_the_valid_frames_is_resampled_in_time():
  """The level rises by 1 dB a frame, so the output shows which frames were read."""
  level = jnp.arange(96.0)[None, :, None, None] * jnp.ones((2, 1, 128, 1))
  mask = jnp.arange(96)[None] < jnp.array([[96], [30]])
  out = lib.resample(level, mask.astype(jnp.float32))
  assert out.shape == (2, 187, 96, 1)
  db = np.asarray(10 * jnp.log10((10**out - 1) / 1e4))[:, :, 0, 0] - lib.PEAK_DB
  step = lib.FRAME_RATE / lib.MUSICNN_FRAME_RATE
  np.testing.assert_allclose(np.diff(db[0]), step, atol=0.01)
  assert db[0].mean() == pytest.approx(-95 / 2, abs=0.1)
  assert db[1, 0] == pytest.approx(-29, abs=0.1) and db[1, -1] == pytest.approx(0, abs=0.1)
  np.testing.assert_allclose(lib.resample(level + 7, mask.astype(jnp.float32)), out, atol=1e-3)


@pytest.mark.slow
def test_musicnn_is_not_trained():
  model = lib.SplitCnnMusicnn(num_classes=3)
  x = 20 * jax.random.normal(jax.random.key(1), (2, 48, 128, 1)) - 40
  variables = jax.jit(model.init)(jax.random.key(0), x)

  def loss(params):
    return jnp.square(model.apply({**variables, "params": params}, x) - 1).sum()

  grads = jax.jit(jax.grad(loss))(variables["params"])
  assert not any(leaf.any() for leaf in jax.tree.leaves(grads["musicnn"]))
  assert grads["logits_hidden"]["kernel"].any() and grads["hidden"]["kernel"].any()
