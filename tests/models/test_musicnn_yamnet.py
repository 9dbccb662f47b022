"""Test that musicnn_yamnet gives its two networks their input, and its layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.data.log_mel import log_mel
from genre_jax.models import musicnn, yamnet
from genre_jax.models.musicnn_yamnet import FRONTEND, LEVEL, MusicnnYamnet, limit_labels

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def variables():
  network = MusicnnYamnet(num_classes=5, not_music=2, tags=4, sounds=6)
  frames = jnp.zeros((1, FRONTEND.num_frames, FRONTEND.hop_length, 1))
  return jax.jit(network.init)(jax.random.key(0), frames)


@pytest.fixture(scope="module")
def audio():
  rng = np.random.default_rng(0)
  return np.float32(rng.uniform(-0.5, 0.5, FRONTEND.num_frames * FRONTEND.hop_length))


def apply(variables, audio, valid, not_music=2):
  network = MusicnnYamnet(num_classes=5, not_music=not_music, tags=4, sounds=6)
  frames = audio.reshape(1, FRONTEND.num_frames, FRONTEND.hop_length, 1)
  mask = jnp.arange(FRONTEND.num_frames)[None] < valid
  logits, state = jax.jit(lambda *x: network.apply(*x, mutable=["intermediates"]))(
    variables, frames, mask
  )
  return np.asarray(logits[0]), np.asarray(state["intermediates"]["embedding"][0][0])


def part(variables, name):
  return {
    collection: values[name]
    for collection, values in variables.items()
    if name in values and collection != "intermediates"
  }


def test_features_are_those_of_the_two_networks(variables, audio):
  _, features = apply(variables, audio, FRONTEND.num_frames)
  audio = audio * np.float32(LEVEL / np.sqrt((audio**2).mean()))
  count = musicnn.FRONTEND.num_frames
  network = musicnn.Musicnn(num_classes=4)
  segment = log_mel(audio, musicnn.FRONTEND)[None, :count, :, None]
  tags = jax.jit(network.apply)(part(variables, "musicnn"), segment)[0]
  np.testing.assert_allclose(features[328:332], tags, atol=1e-4)
  network = yamnet.Yamnet(num_classes=6)
  length = yamnet.FRONTEND.num_frames
  segments = log_mel(audio, yamnet.FRONTEND)[: 3 * length].reshape(3, length, 64, 1)
  sounds = jax.jit(network.apply)(part(variables, "yamnet"), segments).mean(0)
  np.testing.assert_allclose(features[-6:], sounds, atol=1e-4)


@pytest.mark.parametrize("gain", [-40, 6])
def test_a_gain_changes_no_logit(variables, audio, gain):
  louder = audio * np.float32(10 ** (gain / 20))
  for a, b in zip(apply(variables, audio, 300), apply(variables, louder, 300), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-3)
  silent, _ = apply(variables, 0 * audio, 300)
  assert np.isfinite(silent).all()


def test_padding_has_no_effect(variables, audio):
  padded = audio.copy()
  padded[150 * FRONTEND.hop_length :] = 0.7
  silent = audio.copy()
  silent[150 * FRONTEND.hop_length :] = 0
  for a, b in zip(apply(variables, padded, 150), apply(variables, silent, 150), strict=True):
    np.testing.assert_array_equal(a, b)
  assert np.abs(apply(variables, audio, 300)[0] - apply(variables, silent, 150)[0]).max() > 1e-3


def test_sounds_other_than_music_lower_all_genres(variables, audio):
  plain, _ = apply(variables, audio, 300, not_music=0)
  logits, _ = apply(variables, audio, 300)
  np.testing.assert_array_equal(logits[3:], plain[3:])
  np.testing.assert_allclose(logits[:3], plain[:3] - np.log1p(np.exp(plain[3:].max())), atol=1e-5)


def test_any_number_of_segments_can_be_exported():
  model = MusicnnYamnet(num_classes=3, not_music=1)
  segment = jax.ShapeDtypeStruct((1, 300, 160, 1), jnp.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), segment)
  (batch,) = jax.export.symbolic_shape("batch")
  segments = jax.ShapeDtypeStruct((batch, 300, 160, 1), jnp.float32)
  exported = jax.export.export(jax.jit(model.apply))(variables, segments)
  assert str(exported.out_avals[0].shape) == "(batch, 3)"


def test_a_label_is_limited_by_others():
  logits = jnp.array([[3.0, 1.0, 2.0, 0.5], [0.0, 1.0, 2.0, 5.0]])
  limited = limit_labels(logits, ((1, 2), (), (), (2,)))
  np.testing.assert_allclose(limited, [[1.9, 1, 2, 0.5], [0, 1, 2, 1.9]], rtol=1e-6)
