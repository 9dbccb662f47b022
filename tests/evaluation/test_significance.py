"""Test the statistics of comparisons against statsmodels, SciPy and simulation."""

import math

import numpy as np
import pytest
import scipy.stats

from genre_jax.evaluation import significance
from genre_jax.evaluation.metrics import wilson_interval

rng_of = np.random.default_rng


def test_mcnemar_equals_statsmodels():
  contingency_tables = pytest.importorskip("statsmodels.stats.contingency_tables")
  rng = rng_of(0)
  for only_a, only_b in [
    (0, 0),
    (1, 0),
    (12, 12),
    (24, 0),
    (25, 0),
    (13, 12),
    (300, 200),
    *rng.integers(0, 60, (40, 2)),
  ]:
    only_a, only_b = int(only_a), int(only_b)
    exact = only_a + only_b < significance.EXACT_BELOW
    if only_a + only_b:
      theirs = contingency_tables.mcnemar([[5, only_a], [only_b, 7]], exact=exact).pvalue
      assert significance.mcnemar(only_a, only_b) == pytest.approx(float(theirs), rel=1e-9)
    else:
      assert significance.mcnemar(0, 0) == 1


def test_mcnemar_equals_scipy():
  assert significance.mcnemar(3, 11) == pytest.approx(scipy.stats.binomtest(3, 14).pvalue)
  assert significance.mcnemar(30, 60) == pytest.approx(scipy.stats.chi2.sf(29**2 / 90, 1))


def test_holm_equals_statsmodels():
  multitest = pytest.importorskip("statsmodels.stats.multitest")
  rng = rng_of(1)
  for n in (1, 2, 3, 10):
    p = rng.random(n) ** 3
    np.testing.assert_allclose(significance.holm(p), multitest.multipletests(p, method="holm")[1])
  np.testing.assert_allclose(significance.holm([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06])


def test_a_group_belongs_to_the_genre_of_most_of_its_tracks_and_no_stratum_has_one_group():
  groups = ["a", "a", "a", "b", "b", "c", "d", "e"]
  genres = ["rock", "rock", "pop", "rock", "rock", "pop", "pop", "jazz"]
  group, stratum = significance.assign_strata(groups, genres)
  assert group.tolist() == [0, 0, 0, 1, 1, 2, 3, 4]
  assert stratum[0] == stratum[1] != stratum[2] == stratum[3]
  assert (np.bincount(stratum)[stratum] > 1).all()
  _, stratum = significance.assign_strata(["a", "b", "c"], ["rock", "pop", "jazz"])
  assert len(set(stratum.tolist())) == 1


def test_drawn_weights_sum_to_the_groups_and_have_the_variance_of_a_mean():
  stratum = np.array([0, 0, 0, 1, 1, 1, 1, 1])
  weights = significance.draw_weights(rng_of(0), stratum, 40_000)
  np.testing.assert_allclose(weights[:, :3].sum(1), 3)
  np.testing.assert_allclose(weights[:, 3:].sum(1), 5)
  value = np.array([0.0, 1.0, 5.0])
  drawn = weights[:, :3] @ value / 3
  assert drawn.var() == pytest.approx(value.var(ddof=1) / 3, rel=0.03)


def test_a_paired_difference_is_signed_reproducible_and_in_its_interval():
  rng = rng_of(0)
  groups = [f"artist-{i // 2}" for i in range(60)]
  genres = ["rock"] * 30 + ["pop"] * 30
  a, b = rng.random((3, 60)) < 0.8, rng.random((2, 60)) < 0.5
  difference, low, high = significance.paired_difference(a, b, groups, genres)
  assert difference == pytest.approx(a.mean() - b.mean())
  assert low < difference < high
  assert significance.paired_difference(a, b, groups, genres) == (difference, low, high)
  assert significance.paired_difference(a, a, groups, genres)[0] == 0
  assert significance.paired_difference(a[:1], a[:1], groups, genres) == (0, 0, 0)
  one = significance.paired_difference(a, b, ["same"] * 60, genres)
  assert math.isnan(one[1]) and math.isnan(one[2])


def test_seed_effects_exclude_the_chance_of_single_tracks():
  rng = rng_of(0)
  group = np.arange(400) // 2
  chance = significance.seed_effects((rng.random((4, 400)) < 0.7).astype(float), group)
  shifted = np.array([[0.5], [0.9]]) > rng.random((2, 400))
  real = significance.seed_effects(shifted.astype(float), group)
  assert np.abs(chance).max() < 0.04
  np.testing.assert_allclose(real, [-0.2, 0.2], atol=0.05)
  assert chance.sum() == pytest.approx(0, abs=1e-12)


def _logistic(x):
  return 1 / (1 + np.exp(-x))


def test_if_all_are_correct_or_all_wrong_the_interval_is_wilsons():
  groups, genres = [str(i // 3) for i in range(60)], ["rock", "pop"] * 30
  for right in (True, False):
    mean, low, high = significance.accuracy_of_seeds(np.full((2, 60), right), groups, genres)
    assert (mean, low, high) == (right, *wilson_interval(float(right), 20))
    assert high - low > 0.1
  correct = rng_of(0).random((2, 60)) < 0.7
  expected = significance.paired_difference(correct, np.zeros((1, 60)), groups, genres)
  assert significance.accuracy_of_seeds(correct, groups, genres) == pytest.approx(expected)


def _coverage(seeds, seed_sd, *, repetitions=300, artists=8):
  """Return the share of intervals that contain the true difference, over simulated data sets.

  Whether a prediction is correct follows a logistic model with effects of the artist (one shared by
  both systems, and one for each system), of the track and of the seed.
  """
  rng = rng_of(5)
  spread = np.sqrt(1.0**2 + 0.7**2 + 0.5**2 + seed_sd**2)
  z = rng.normal(0, spread, 1_000_000)
  truth = _logistic(0.8 + z).mean() - _logistic(0.4 + z).mean()
  hits = 0
  for repetition in range(repetitions):
    size = rng.integers(1, 6, (4, artists))
    group = np.repeat(np.arange(4 * artists), size.ravel())
    shared = rng.normal(0, 1.0, 4 * artists)[group] + rng.normal(0, 0.7, len(group))
    systems = [
      rng.random((seeds, len(group)))
      < _logistic(
        level + shared + rng.normal(0, 0.5, 4 * artists)[group] + rng.normal(0, seed_sd, (seeds, 1))
      )
      for level in (0.8, 0.4)
    ]
    _, low, high = significance.paired_difference(
      *systems, group, group // artists, draws=500, seed=repetition
    )
    hits += low <= truth <= high
  return hits / repetitions


@pytest.mark.parametrize("seeds,seed_sd", [(1, 0.0), (3, 0.0), (3, 0.3), (5, 0.5)])
def test_95_percent_intervals_cover_the_truth_in_about_95_percent(seeds, seed_sd):
  # With 300 simulated sets the standard error of the coverage is 1.3 points.
  assert 0.91 <= _coverage(seeds, seed_sd) <= 0.985
