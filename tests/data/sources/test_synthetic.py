"""The built-in corpus: reproducible, and neither axis alone distinguishes the styles."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from genre_jax.data.frontend import FrontendConfig
from genre_jax.data.sources.registry import open_source
from genre_jax.data.sources.synthetic import CLIP_SECONDS, STYLES, synthesize
from genre_jax.data.splits import assign_splits


def test_it_is_reproducible_and_depends_on_the_seed():
  audio = synthesize(100, 22050)
  np.testing.assert_array_equal(audio, synthesize(100, 22050))
  assert len(audio) == CLIP_SECONDS * 22050 and audio.dtype == np.float32
  assert 0.05 < np.abs(audio).max() <= 1
  assert np.abs(audio - synthesize(100, 22050, seed=1)).max() > 0.05
  assert open_source().fingerprint() == open_source().fingerprint()
  assert open_source().fingerprint() != open_source(seed=1).fingerprint()


@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100])
def test_other_sample_rates(sample_rate):
  assert np.isfinite(synthesize(5, sample_rate)).all()


def test_pieces_are_groups():
  source = open_source()
  assert source.classes == STYLES and len(source.clips) == 288
  assert len({clip.group for clip in source.clips}) == 96
  assert any("says nothing about real music" in note for note in source.notes)
  assert len(open_source("synthetic", "", "even_nasal").clips) == 72


@pytest.mark.slow
def test_each_axis_alone_stays_near_half():
  source, frontend = open_source(), FrontendConfig()
  spectra = [source.log_mel(clip, frontend) for clip in source.clips]
  styles = np.array([STYLES.index(clip.labels[0]) for clip in source.clips])
  loudness = np.array([10 * np.log10((10 ** (values / 10)).sum(1)) for values in spectra])
  loudness -= loudness.mean(1, keepdims=True)
  # The envelope, and its autocorrelation, which does not depend on the time of a beat.
  lags = np.array([np.correlate(row, row, "full")[len(row) - 1 :][:40] for row in loudness])
  features = {
    "mean spectrum": np.array([values.mean(0) for values in spectra]),
    "envelope": loudness,
    "rhythm": lags / lags[:, :1],
  }
  accuracy = {}
  for name, values in features.items():
    right = []
    for fold in range(3):
      assignment = assign_splits(source.clips, name="grouped_kfold", fold=fold)
      test = np.array([assignment.splits[clip.track] == "test" for clip in source.clips])
      model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
      model.fit(values[~test], styles[~test])
      right.append(model.predict(values[test]) == styles[test])
    accuracy[name] = np.concatenate(right).mean()
  assert 0.4 < accuracy["mean spectrum"] < 0.6, accuracy
  assert 0.4 < accuracy["rhythm"] < 0.6, accuracy
  assert accuracy["envelope"] < 0.6, accuracy
