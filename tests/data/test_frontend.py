"""The recipe: validation, comparison, and which STFT frames are kept."""

import dataclasses
import json
import pickle

import numpy as np
import pytest

from genre_jax.data.frontend import Recipe
from genre_jax.errors import UserError


def test_default_has_the_frame_rate_of_the_gtzan_archive():
  recipe = Recipe()
  assert recipe.frame_rate == pytest.approx(387 / 30, rel=1e-5)
  assert recipe.window_seconds == pytest.approx(64 / 12.9, rel=1e-5)
  # GTZAN clips have 661,504 to 661,794 samples.
  assert recipe.frames_of(661794) == 387


def test_round_trip_and_difference():
  recipe = Recipe(n_mels=96, fmax=8000)
  assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
  assert pickle.loads(pickle.dumps(recipe)) == recipe
  assert recipe.difference(Recipe()) == {"n_mels": (96, 128), "fmax": (8000.0, 11025.0)}
  assert recipe.difference(recipe) == {}


@pytest.mark.parametrize(
  "field, value",
  [
    ("sample_rate", 0),
    ("sample_rate", 22050.0),
    ("n_fft", 2047),
    ("win_length", 4096),
    ("hop_length", -1),
    ("window", "kaiser"),
    ("center", 1),
    ("pad_mode", "wrap"),
    ("n_mels", 0),
    ("n_mels", True),
    ("fmin", -1.0),
    ("fmax", 0.0),
    ("fmax", 11026.0),
    ("fmax", float("nan")),
    ("mel_scale", "bark"),
    ("mel_norm", ""),
    ("power", 0.0),
    ("compression", "log"),
    ("db_ref", "min"),
    ("top_db", -1.0),
    ("amin", 0.0),
    ("frame_stride", 0.5),
    ("num_frames", 0),
  ],
)
def test_bad_values_name_the_field(field, value):
  with pytest.raises(UserError, match=f"config.recipe.{field}="):
    dataclasses.replace(Recipe(), **{field: value})


def test_unknown_and_missing_fields_are_named():
  values = Recipe().to_dict()
  with pytest.raises(UserError, match="config.recipe.n_mel:.*config.recipe.n_mels"):
    Recipe.from_dict({**values, "n_mel": 4})
  del values["amin"]
  with pytest.raises(UserError, match="config.recipe.amin: the field is missing"):
    Recipe.from_dict(values)


def test_frame_indices():
  recipe = Recipe()
  expected = np.floor((np.arange(387) + 0.5) * 1292 / 387)
  np.testing.assert_array_equal(recipe.frame_indices(1293), expected)
  np.testing.assert_array_equal(Recipe(frame_stride=1.0).frame_indices(5), np.arange(5))
  assert recipe.frame_indices(0).tolist() == []
  assert recipe.frame_indices(1).tolist() == [0]
  assert recipe.frames_of(1) == 1 and recipe.frames_of(0) == 0


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("samples", [1, 100, 2047, 2048, 2560, 10000])
def test_stft_frame_count(center, samples):
  expected = 1 + samples // 512 if center else 1 + max(0, samples - 2048) // 512
  assert Recipe(center=center).stft_frames_of(samples) == expected
