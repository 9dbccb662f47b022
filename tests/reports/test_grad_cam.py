"""Test Grad-CAM on a network with known evidence and on every network of the registry."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.models.registry import MODELS, build_model
from genre_jax.reports.grad_cam import GradCam
from tests.models.conftest import random_variables

FRAMES, BANDS = 96, 96
# Small sizes and segments for the published network, whose own take minutes on a CPU; the bands
# that musicnn's front end is interpolated from.
SIZES = {"published_tf_split": {"channels": (4, 6)}}
SEGMENT_SHAPES = {"published_tf_split": (20, 16), "split_cnn_musicnn": (48, 128)}
# Built like axis_features, split_cnn and baseline, which are tested.
SAME = {
  "axis_features_time",
  "axis_features_frequency",
  "axis_features_2d",
  "square_cnn",
  "axis_features_student",
  "published_baseline",
}


def _noise(n=2, seed=0, shape=(FRAMES, BANDS)):
  return np.random.default_rng(seed).normal(-40, 15, (n, *shape, 1)).astype(np.float32)


def _variables(model, segments):
  variables = random_variables(model, jnp.asarray(segments))
  return {name: variables[name] for name in ("params", "batch_stats") if name in variables}


class Toy(nn.Module):
  """Score loud spots for genre 0 and against genre 1, with optional transposition and padding."""

  transposed: bool = False
  padding: str = "VALID"

  @nn.compact
  def __call__(self, log_mel, frame_mask=None, *, train=False):
    x = log_mel.swapaxes(1, 2) if self.transposed else log_mel
    x = nn.Conv(
      1,
      (5, 5),
      padding=self.padding,
      use_bias=False,
      name="spot_0",
      kernel_init=nn.initializers.ones,
    )(x / 25)
    x = nn.max_pool(x, (2, 2), strides=(2, 2))
    x = nn.Conv(1, (1, 1), use_bias=False, kernel_init=nn.initializers.ones, name="spot_1")(x)
    score = nn.relu(x).sum((1, 2, 3))
    return jnp.stack([score, -score], 1)


@pytest.mark.parametrize("transposed,padding", [(False, "VALID"), (True, "SAME")])
def test_maps_are_located_at_the_loud_spot(transposed, padding):
  model = Toy(transposed, padding)
  segments = np.zeros((2, FRAMES, BANDS, 1), np.float32)
  segments[0, 20:26, 70:76] = 1
  segments[1, 80:86, 10:16] = 1
  cam = GradCam(model, _variables(model, segments), _noise())
  heat = cam(segments, np.ones((2, FRAMES), bool), [0, 0])["spot"]
  for one, (time, band) in zip(heat, [(22.5, 72.5), (82.5, 12.5)], strict=True):
    assert one.max() == pytest.approx(1)
    place = np.array(np.nonzero(one > 0.5)).mean(1)
    np.testing.assert_allclose(place, (time, band), atol=1.5)
    assert (one > 0).sum() < 400
  against = cam(segments, np.ones((2, FRAMES), bool), [1, 1])["spot"]
  assert not against.any(), "the spot lowers the score of the other genre"


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name == "axis_features" else pytest.mark.slow)
    for name in MODELS
    if name not in SAME
  ],
)
def test_every_network_has_maps_of_its_branches(name):
  model = build_model({"name": name, **SIZES.get(name, {})}, 3)
  frames, bands = SEGMENT_SHAPES.get(name, (48, BANDS))
  segments = _noise(shape=(frames, bands))
  cam = GradCam(model, _variables(model, segments), segments)
  branches = {m.branch for m in cam.maps}
  if "axis_features" in name:
    assert {"time", "frequency"} <= branches
  if name == "musicnn":
    assert {"timbral", "temporal"} <= branches
  mask = np.ones((3, frames), bool)
  mask[1, 15:] = False
  heats = cam(_noise(3, 1, (frames, bands)), mask, np.array([0, 1, 2]))
  assert branches == set(heats)
  for heat in heats.values():
    assert heat.shape == (3, frames, bands) and np.isfinite(heat).all()
    assert 0 <= heat.min() and heat.max() <= 1 + 1e-6
    assert not heat[1, 15:].any()


def test_a_network_without_convolutions_has_no_maps():
  class Plain(nn.Module):
    @nn.compact
    def __call__(self, log_mel, frame_mask=None, *, train=False):
      return nn.Dense(2)(log_mel.mean((1, 3)))

  segments = _noise()
  cam = GradCam(Plain(), _variables(Plain(), segments), segments)
  assert cam.maps == [] and cam(segments, np.ones((2, FRAMES), bool), [0, 1]) == {}
