"""Compute statistics of paired comparisons: bootstrap over artists and seeds, McNemar, Holm.

It works on NumPy arrays; `comparison.py` reads them from files. Tracks of one artist, and runs of
one config, are not independent, so the bootstrap draws artists and seeds.
"""

import math

import numpy as np
import scipy.special

from genre_jax.evaluation.metrics import accuracy_interval

# With fewer discordant tracks McNemar's test is the exact binomial one (25 in the manual of
# statsmodels and in Fagerland et al., BMC Med. Res. Methodol. 13 (2013) 91).
EXACT_BELOW = 25


def assign_strata(groups, genres) -> tuple[np.ndarray, np.ndarray]:
  """Number the groups, and assign each to a stratum: the genre of most of its tracks.

  The variance within a stratum of one group cannot be estimated. Such strata are merged with one
  another, or a single one with the smallest other stratum.

  Args:
    groups: Group of each track.
    genres: Genre of each track.

  Returns:
    int[tracks], the group of each track; int[groups], the stratum of each group.
  """
  _, group = np.unique(np.asarray(groups), return_inverse=True)
  _, genre = np.unique(np.asarray(genres), return_inverse=True)
  counts = np.zeros((group.max() + 1, genre.max() + 1), int)
  np.add.at(counts, (group, genre), 1)
  stratum = counts.argmax(1)
  size = np.bincount(stratum, minlength=counts.shape[1])
  single = np.flatnonzero(size == 1)
  if len(single):
    stratum[np.isin(stratum, single)] = single[0]
    if len(single) == 1 and (size > 1).any():
      smallest = min(np.flatnonzero(size > 1), key=lambda s: size[s])
      stratum[stratum == single[0]] = smallest
  return group, stratum


def draw_weights(rng, stratum, draws: int) -> np.ndarray:
  """Draw bootstrap weights of groups, with replacement within their stratum.

  m - 1 of m groups are drawn and weighted by m / (m - 1). Drawing m would underestimate the
  variance by (m - 1) / m, which matters if a genre has few artists.

  Source: Rao and Wu, J. Am. Stat. Assoc. 83 (1988) 231.

  Args:
    rng: A NumPy Generator.
    stratum: int[groups].
    draws: Number of draws.

  Returns:
    float[draws, groups], summing to the number of groups in each stratum.
  """
  weights = np.ones((draws, len(stratum)))
  for s in np.unique(stratum):
    members = np.flatnonzero(stratum == s)
    m = len(members)
    if m > 1:
      drawn = rng.multinomial(m - 1, np.full(m, 1 / m), draws)
      weights[:, members] = drawn * (m / (m - 1))
  return weights


def paired_difference(
  correct_a, correct_b, groups, genres, *, draws: int = 4000, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
  """Compute the difference in accuracy of two systems on the same tracks, and its interval.

  The bootstrap draws artists within their genre, and the seeds of a system with several seeds. The
  interval is a percentile interval, widened as Student's t widens a normal one, because artists
  and seeds are few.

  Sources: Hesterberg, Am. Stat. 69 (2015) 371 (the widening); Satterthwaite, Biometrics Bull. 2
  (1946) 110 (its degrees of freedom).

  Args:
    correct_a: bool[seeds, tracks].
    correct_b: bool[seeds, tracks], possibly with other seeds.
    groups: Group of each track.
    genres: Genre of each track.
    draws: Number of bootstrap draws.
    level: Level of the interval.
    seed: Seed of the draws.

  Returns:
    The difference a - b, and the lower and upper bound of its interval. All tracks have the same
    weight. The bounds are NaN if there is only one group.
  """
  systems = [np.atleast_2d(correct).astype(float) for correct in (correct_a, correct_b)]
  difference = float(systems[0].mean() - systems[1].mean())
  group, stratum = assign_strata(groups, genres)
  if len(stratum) < 2:
    return difference, math.nan, math.nan
  rng = np.random.default_rng(seed)
  size = np.bincount(group).astype(float)
  weights = draw_weights(rng, stratum, draws)
  gain = np.bincount(group, weights=systems[0].mean(0) - systems[1].mean(0))
  parts = [weights @ gain / (weights @ size) - difference]
  freedom = [len(stratum) - len(np.unique(stratum))]
  for correct in systems:
    if len(correct) > 1:
      drawn = draw_weights(rng, np.zeros(len(correct), int), draws)
      parts.append(drawn @ seed_effects(correct, group) / len(correct))
      freedom.append(len(correct) - 1)
  variances = np.array([part.var() for part in parts])
  z = scipy.special.ndtri((1 + level) / 2)
  if variances.sum() > 0:
    df = variances.sum() ** 2 / (variances**2 / np.maximum(freedom, 1)).sum()
    z = scipy.special.stdtrit(df, (1 + level) / 2)
  tail = scipy.special.ndtr(-z)
  low, high = np.quantile(difference + sum(parts), [tail, 1 - tail])
  return difference, float(low), float(high)


def accuracy_of_seeds(correct, groups, genres) -> tuple[float, float, float]:
  """Compute the mean accuracy of a system's seeds, with the interval of `paired_difference`.

  If all predictions are correct, or all wrong, every draw is the same. The interval is then
  Wilson's, with the groups as trials.

  Args:
    correct: bool[seeds, tracks].
    groups: Group of each track.
    genres: Genre of each track.

  Returns:
    The mean, and the lower and upper bound of its interval, within [0, 1].
  """
  correct = np.atleast_2d(correct)
  if correct.all() or not correct.any():
    return float(correct.mean()), *accuracy_interval(correct.mean(0), tuple(groups))
  mean, low, high = paired_difference(correct, np.zeros_like(correct[:1]), groups, genres)
  return mean, max(low, 0.0), min(high, 1.0)


def seed_effects(correct, group) -> np.ndarray:
  """Estimate the effect of each seed on the accuracy, without the chance of single tracks.

  The accuracies of seeds also differ because each seed classifies other tracks correctly. Drawing
  artists includes this variance already, so it is removed: deviations from the mean are shrunk
  accordingly, down to zero.

  Args:
    correct: float[seeds, tracks].
    group: int[tracks].

  Returns:
    float[seeds], summing to 0.
  """
  seeds, n = correct.shape
  effects = correct.mean(1) - correct.mean()
  residual = correct - correct.mean(0) - effects[:, None]
  by_group = np.stack([np.bincount(group, weights=row) for row in residual])
  chance = (by_group**2).sum() / (seeds - 1) / n**2
  total = effects.var(ddof=1)
  return effects * math.sqrt(max(0.0, 1 - chance / total)) if total > 0 else effects


def mcnemar(only_a: int, only_b: int) -> float:
  """Compute the two-sided p-value of McNemar's test.

  Sources: McNemar, Psychometrika 12 (1947) 153; Edwards, Psychometrika 13 (1948) 185.

  Args:
    only_a: Number of tracks that only a classifies correctly.
    only_b: Number of tracks that only b classifies correctly.

  Returns:
    The exact binomial p-value below EXACT_BELOW discordant tracks, else that of chi-square with
    continuity correction.
  """
  n = only_a + only_b
  if n == 0:
    return 1.0
  if n < EXACT_BELOW:
    tail = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1)) / 2**n
    return min(1.0, 2 * tail)
  statistic = max(abs(only_a - only_b) - 1, 0) ** 2 / n
  return math.erfc(math.sqrt(statistic / 2))


def holm(p_values) -> np.ndarray:
  """Adjust the p-values of several tests by Holm's method.

  Source: Holm, Scand. J. Stat. 6 (1979) 65.
  """
  p = np.asarray(p_values, float)
  order = np.argsort(p, kind="stable")
  adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
  out = np.empty_like(p)
  out[order] = np.minimum(adjusted, 1.0)
  return out
