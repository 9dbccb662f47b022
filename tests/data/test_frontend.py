"""FrontendConfig: validation, comparison, and kept STFT frames."""

import dataclasses
import json
import pickle

import numpy as np
import pytest

from genre_jax.data.frontend import FrontendConfig
from genre_jax.errors import UserError


def test_default_has_the_frame_rate_of_the_gtzan_archive():
  frontend = FrontendConfig()
  assert frontend.frame_rate == pytest.approx(387 / 30, rel=1e-5)
  assert frontend.segment_seconds == pytest.approx(64 / 12.9, rel=1e-5)
  # GTZAN clips have 661,504 to 661,794 samples.
  assert frontend.frames_of(661794) == 387


def test_round_trip_and_difference():
  frontend = FrontendConfig(n_mels=96, fmax=8000)
  assert FrontendConfig.from_dict(json.loads(json.dumps(frontend.to_dict()))) == frontend
  assert pickle.loads(pickle.dumps(frontend)) == frontend
  assert frontend.difference(FrontendConfig()) == {"n_mels": (96, 128), "fmax": (8000.0, 11025.0)}
  assert frontend.difference(frontend) == {}


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
  with pytest.raises(UserError, match=f"config.frontend.{field}="):
    dataclasses.replace(FrontendConfig(), **{field: value})


def test_unknown_and_missing_fields_are_named():
  values = FrontendConfig().to_dict()
  with pytest.raises(UserError, match="config.frontend.n_mel:.*did you mean n_mels"):
    FrontendConfig.from_dict({**values, "n_mel": 4})
  del values["amin"]
  with pytest.raises(UserError, match="config.frontend.amin: the field is missing"):
    FrontendConfig.from_dict(values)


def test_frame_indices():
  frontend = FrontendConfig()
  expected = np.floor((np.arange(387) + 0.5) * 1292 / 387)
  np.testing.assert_array_equal(frontend.frame_indices(1293), expected)
  np.testing.assert_array_equal(FrontendConfig(frame_stride=1.0).frame_indices(5), np.arange(5))
  assert frontend.frame_indices(0).tolist() == []
  assert frontend.frame_indices(1).tolist() == [0]
  assert frontend.frames_of(1) == 1 and frontend.frames_of(0) == 0


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("samples", [1, 100, 2047, 2048, 2560, 10000])
def test_stft_frame_count(center, samples):
  expected = 1 + samples // 512 if center else 1 + max(0, samples - 2048) // 512
  assert FrontendConfig(center=center).stft_frames_of(samples) == expected
