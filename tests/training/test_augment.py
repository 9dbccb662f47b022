"""Test that augmentations are off by default, equal inside jit, and keep shapes and meaning."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genre_jax.training import augment as lib
from genre_jax.training.augment import DEFAULTS, augment

EVERYTHING = {
  "time_stretch": 0.2,
  "mel_shift": 2.0,
  "eq_db": 3.0,
  "low_pass_db": 20.0,
  "mixstyle_alpha": 0.4,
  "mixup_alpha": 0.4,
  "mixup_share": 0.5,
  "time_masks": 2,
  "time_mask_frames": 6,
  "frequency_masks": 2,
  "frequency_mask_bands": 5,
}
ONE_BY_ONE = [
  {"time_stretch": 0.2},
  {"mel_shift": 2.0},
  {"eq_db": 3.0},
  {"low_pass_db": 20.0, "low_pass_bands": 4},
  {"mixstyle_alpha": 0.5, "mixstyle_share": 1.0},
  {"mixup_alpha": 0.4},
  {"time_masks": 2, "time_mask_frames": 6},
  {"frequency_masks": 2, "frequency_mask_bands": 5},
]


@pytest.fixture
def batch():
  """Return six segments of 30 frames and 16 bands, two of them shorter, each with one label."""
  num_frames = jnp.array([30, 30, 18, 30, 7, 30], jnp.int32)
  log_mel = jax.random.uniform(jax.random.key(3), (6, 30, 16, 1), minval=-80.0, maxval=0.0)
  valid = jnp.arange(30)[None] < num_frames[:, None]
  return {
    "log_mel": jnp.where(valid[:, :, None, None], log_mel, -80.0),
    "num_frames": num_frames,
    "labels": jnp.eye(3, dtype=jnp.float32)[jnp.arange(6) % 3],
    "label_mask": jnp.ones((6, 3), jnp.float32),
    "mask": jnp.ones(6, bool),
  }


def test_nothing_happens_by_default(batch, rng):
  out = augment(rng, batch, {})
  valid = jnp.arange(30)[None] < batch["num_frames"][:, None]
  for name in ("num_frames", "labels", "label_mask", "mask"):
    np.testing.assert_array_equal(out[name], batch[name])
  np.testing.assert_array_equal(out["log_mel"][valid], batch["log_mel"][valid])


@pytest.mark.slow
def test_every_field_does_something(batch, rng):
  assert set().union(*ONE_BY_ONE) | {"eq_knots", "mixup_share"} == set(DEFAULTS)
  for config in ONE_BY_ONE:
    out = jax.jit(functools.partial(augment, config=config))(rng, batch)
    assert float(jnp.abs(out["log_mel"] - batch["log_mel"]).max()) > 0.1, config


@pytest.mark.parametrize(
  "config",
  [
    pytest.param(EVERYTHING, marks=pytest.mark.slow, id="everything"),
    pytest.param({}, id="nothing"),
  ],
)
def test_eager_equals_compiled(batch, rng, config):
  eager = augment(rng, batch, config)
  compiled = jax.jit(lambda rng, batch: augment(rng, batch, config))(rng, batch)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), eager, compiled)


@pytest.mark.slow
def test_shapes_and_dtypes_stay(batch, rng):
  out = augment(rng, batch, EVERYTHING)
  assert jax.tree.map(lambda x: (x.shape, x.dtype), out) == jax.tree.map(
    lambda x: (x.shape, x.dtype), batch
  )
  assert bool(jnp.isfinite(out["log_mel"]).all())


@pytest.mark.slow
def test_the_content_of_padding_is_ignored(batch, rng):
  valid = (jnp.arange(30)[None] < batch["num_frames"][:, None])[:, :, None, None]
  other = {**batch, "log_mel": jnp.where(valid, batch["log_mel"], 99.0)}
  a, b = augment(rng, batch, EVERYTHING), augment(rng, other, EVERYTHING)
  np.testing.assert_array_equal(a["num_frames"], b["num_frames"])
  valid = (jnp.arange(30)[None] < a["num_frames"][:, None])[:, :, None, None]
  np.testing.assert_allclose(
    jnp.where(valid, a["log_mel"], 0.0), jnp.where(valid, b["log_mel"], 0.0), atol=1e-4
  )


def test_mixup_mixes_labels_and_keeps_their_sum(batch, rng):
  out = augment(rng, batch, {"mixup_alpha": 1.0})
  np.testing.assert_allclose(out["labels"].sum(1), 1.0, atol=1e-6)
  assert float(((out["labels"] > 0) & (out["labels"] < 1)).sum()) > 0
  assert bool((out["num_frames"] <= batch["num_frames"]).all())


def test_a_label_is_known_after_mixup_if_both_segments_know_it(batch, rng):
  labels = jnp.ones((6, 3), jnp.float32)
  known = jnp.ones((6, 3), jnp.float32).at[0, 1].set(0.0)
  out = augment(rng, {**batch, "labels": labels, "label_mask": known}, {"mixup_alpha": 1.0})
  np.testing.assert_allclose(out["labels"], 1.0, atol=1e-6)
  assert set(np.unique(out["label_mask"])) == {0.0, 1.0}
  assert float(out["label_mask"][0, 1]) == 0.0


def test_labels_stay_without_mixup(batch, rng):
  out = augment(rng, batch, {**EVERYTHING, "mixup_alpha": 0.0})
  np.testing.assert_array_equal(out["labels"], batch["labels"])


def test_the_equalizer_adds_the_same_curve_to_every_frame(batch, rng):
  whole = np.asarray(batch["num_frames"]) == 30
  change = (augment(rng, batch, {"eq_db": 3.0})["log_mel"] - batch["log_mel"])[whole]
  np.testing.assert_allclose(change, jnp.broadcast_to(change[:, :1], change.shape), atol=1e-4)
  assert 0.1 < float(jnp.abs(change).max()) < 5 * 3.0


def test_the_low_pass_lowers_the_highest_bands_alone(batch, rng):
  out = augment(rng, batch, {"low_pass_db": 20.0, "low_pass_bands": 4})["log_mel"]
  change = np.asarray(batch["log_mel"] - out)[np.asarray(batch["num_frames"]) == 30, ..., 0]
  np.testing.assert_array_equal(change[:, :, :-4], 0.0)
  assert change[:, :, -1].max() > 1.0 and (change >= 0).all() and change.max() <= 20.0
  assert out.min() >= batch["log_mel"].min()


def test_each_augmentation_has_its_own_random_numbers(batch, rng):
  """Key i of 11 drives one augmentation, whatever the others do: seeds reproduce old runs."""
  keys = jax.random.split(rng, 11)
  x, num_frames = batch["log_mel"][..., 0], batch["num_frames"]
  padding = jnp.arange(30)[None] >= num_frames[:, None]
  stretched, frames = lib.time_stretch(keys[0], x, num_frames, 0.2)
  shifted = lib.mel_shift(keys[1], stretched, 2.0)
  expected = lib.equalizer(keys[3], shifted, 3.0, 6)
  out = augment(rng, batch, {"time_stretch": 0.2, "mel_shift": 2.0, "eq_db": 3.0})
  np.testing.assert_array_equal(out["num_frames"], frames)
  padding = jnp.arange(30)[None] >= frames[:, None]
  np.testing.assert_array_equal(out["log_mel"][..., 0][~padding], expected[~padding])
  valid = (jnp.arange(30)[None] < num_frames[:, None])[:, :, None]
  for config, mixed in (
    ({"low_pass_db": 20.0}, lib.low_pass(keys[2], x, valid, 20.0, 3)),
    ({"mixstyle_alpha": 0.4}, lib.mixstyle(keys[4], x, valid, 0.4, 0.5)),
    ({"time_masks": 2, "time_mask_frames": 6}, lib.spec_mask(keys[8], x, valid, 2, 6, 1)),
    ({"frequency_masks": 2, "frequency_mask_bands": 5}, lib.spec_mask(keys[9], x, valid, 2, 5, 2)),
  ):
    out = augment(rng, batch, config)["log_mel"][..., 0]
    np.testing.assert_array_equal(out[valid[..., 0]], mixed[valid[..., 0]])
  mixup = lib.mixup(keys[7], x, num_frames, batch["labels"], batch["label_mask"], 0.4, 1.0)
  np.testing.assert_array_equal(augment(rng, batch, {"mixup_alpha": 0.4})["labels"], mixup[2])


@pytest.mark.slow
def test_stretch_follows_a_ramp(rng):
  """A faster ramp is steeper and ends earlier."""
  ramp = jnp.tile(jnp.arange(40.0)[None, :, None, None], (8, 1, 4, 1))
  batch = {
    "log_mel": ramp,
    "num_frames": jnp.full(8, 40, jnp.int32),
    "labels": jnp.ones((8, 1), jnp.float32),
    "label_mask": jnp.ones((8, 1), jnp.float32),
  }
  out = augment(rng, batch, {"time_stretch": 0.25})
  for row, frames in zip(out["log_mel"][..., 0, 0], out["num_frames"], strict=True):
    slope = float(row[1] - row[0])
    assert 0.79 < slope < 1.26
    np.testing.assert_allclose(row[: int(frames)], slope * np.arange(int(frames)), atol=1e-3)
    assert int(frames) == min(40, int(39 / slope + 1e-4) + 1)


def test_masks_are_runs_of_the_mean(batch, rng):
  out = augment(rng, batch, {"time_masks": 1, "time_mask_frames": 6})["log_mel"][0, :, :, 0]
  masked = np.asarray(jnp.isclose(out, batch["log_mel"][0].mean(), atol=1e-3).all(1))
  assert 0 <= masked.sum() <= 6
  assert (np.diff(np.flatnonzero(masked)) == 1).all()


def test_unknown_field_is_an_error(batch, rng):
  with pytest.raises(ValueError, match="mel_shft"):
    augment(rng, batch, {"mel_shft": 1.0})
