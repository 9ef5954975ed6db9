"""How many seeds a study needs: the power of the tests between two variants.

Differences are assumed to be normal. With a `ratio` the test is the corrected t-test over splits
(`resampled.paired`), otherwise the paired signed-rank test.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from m3net_jax.stats import resampled
from m3net_jax.stats.intervals import ALPHA
from m3net_jax.stats.resampled import Lanes
from m3net_jax.stats.wilcoxon import sign_null

_DRAWS = 20_000  # standard error of a power of 0.8: 0.003
_MOST_SIMULATED = 60  # pairs; with more, the normal approximation is within 0.01
_MOST_SEEDS = 10_000


class Spread(NamedTuple):
  """The spread of paired differences.

  Attributes:
    std: standard deviation of the difference of two observations, a fraction: of two lanes with
      the same seed and split, or of the means of one split.
    source: how it was estimated, in words.
  """

  std: float
  source: str


class PlanRow(NamedTuple):
  """The power for one true difference.

  Attributes:
    difference: a fraction: 0.01 is one point.
    num_seeds: seeds per variant.
    power: with `num_seeds` seeds.
    seeds_needed: for the requested power; None if 10,000 are not enough.
  """

  difference: float
  num_seeds: int
  power: float
  seeds_needed: int | None


def critical_value(n: int, alpha: float = ALPHA) -> int | None:
  """Critical value of the two-sided signed-rank test with n pairs at level alpha.

  It is the largest significant value of the smaller rank sum; None if no value is significant.
  """
  cumulative = np.cumsum(sign_null(2 * np.arange(1, n + 1))[::2])
  below = int(np.searchsorted(cumulative, alpha / 2, side='right'))
  return below - 1 if below else None


def power_at(
  n: int,
  difference: float,
  std_of_differences: float,
  alpha: float = ALPHA,
  ratio: float | None = None,
) -> float:
  """Power of the two-sided test with n pairs for a true difference.

  Up to 60 pairs are simulated with a fixed seed, so equal arguments give equal powers. More pairs
  use the normal approximation with the mean and variance of the rank sum under the alternative
  (E. L. Lehmann, Nonparametrics: Statistical Methods Based on Ranks, 1975, section 4.2).

  Args:
    n: pairs, that is seeds per variant, or splits.
    difference: true mean difference, a fraction.
    std_of_differences: standard deviation of the paired differences, a fraction; with 0 every pair
      has the same difference.
    alpha: level of the test: 0.05, or less if the test is one of several.
    ratio: test clips / training clips of several splits; None for one split.

  Raises:
    ValueError: n is below 1, the difference is 0, or the standard deviation is negative or NaN.
  """
  if n < 1 or not difference or not std_of_differences >= 0:
    raise ValueError(
      f'power needs n >= 1, a difference other than 0 and a standard deviation >= 0, got '
      f'n = {n}, difference = {difference}, std = {std_of_differences}'
    )
  shift = abs(difference) / std_of_differences if std_of_differences else math.inf
  if ratio is not None:
    return _corrected_power(n, shift, alpha, ratio)
  if n > _MOST_SIMULATED:
    return _normal_power(n, shift, alpha)
  critical = critical_value(n, alpha)
  if critical is None:
    return 0.0
  values = shift + np.random.default_rng(0).standard_normal((_DRAWS, n))
  ranks = np.abs(values).argsort(axis=1).argsort(axis=1) + 1
  plus = np.where(values > 0, ranks, 0).sum(axis=1)
  smaller = np.minimum(plus, n * (n + 1) // 2 - plus)
  return float(np.mean(smaller <= critical))


def _corrected_power(n: int, shift: float, alpha: float, ratio: float) -> float:
  if n == 1:
    return 0.0
  centre = shift / math.sqrt(1 / n + ratio)
  critical = float(stats.t.ppf(1 - alpha / 2, n - 1))
  if not math.isfinite(centre):
    return 1.0
  return float(stats.nct.sf(critical, n - 1, centre) + stats.nct.cdf(-critical, n - 1, centre))


def _normal_power(n: int, shift: float, alpha: float) -> float:
  p1 = stats.norm.cdf(shift)  # P(D1 > 0)
  p2 = stats.norm.cdf(math.sqrt(2) * shift)  # P(D1 + D2 > 0)
  # P(D1 + D2 > 0 and D1 + D3 > 0)
  p3 = stats.multivariate_normal.cdf([math.sqrt(2) * shift] * 2, cov=[[1, 0.5], [0.5, 1]])
  pairs = n * (n - 1) / 2
  mean = n * p1 + pairs * p2
  variance = (
    n * p1 * (1 - p1)
    + pairs * (2 * (p1 - p2) ** 2 + 3 * p2 * (1 - p2))
    + 2 * pairs * (n - 2) * (p3 - p2**2)
  )
  null_std = math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
  critical_sum = n * (n + 1) / 4 + stats.norm.ppf(1 - alpha / 2) * null_std + 0.5
  if variance <= 0:  # every pair agrees
    return float(mean >= critical_sum)
  return float(stats.norm.cdf((mean - critical_sum) / math.sqrt(variance)))


def seeds_needed(
  difference: float,
  std_of_differences: float,
  power: float = 0.8,
  alpha: float = ALPHA,
  ratio: float | None = None,
) -> int | None:
  """Smallest number of pairs with at least this power; None if 10,000 are not enough.

  Raises:
    ValueError: `power` is not between 0 and 1, or as in `power_at`.
  """
  if not 0 < power < 1:
    raise ValueError(f'power must lie between 0 and 1, got {power}')
  if power_at(_MOST_SEEDS, difference, std_of_differences, alpha, ratio) < power:
    return None
  low, high = 0, _MOST_SEEDS  # power_at(low) < power <= power_at(high)
  while high - low > 1:
    middle = (low + high) // 2
    if power_at(middle, difference, std_of_differences, alpha, ratio) < power:
      low = middle
    else:
      high = middle
  return high


def plan_table(
  std_of_differences: float,
  num_seeds: int = 14,
  differences: Sequence[float] = (0.005, 0.01, 0.02),
  power: float = 0.8,
  alpha: float = ALPHA,
  ratio: float | None = None,
) -> list[PlanRow]:
  """Power with `num_seeds` seeds, and seeds needed for `power`, one row per true difference.

  Args:
    std_of_differences: standard deviation of the paired differences, a fraction.
    num_seeds: seeds per variant.
    differences: true mean differences, fractions.
    power: the requested power.
    alpha: level of the test.
    ratio: as for `power_at`.
  """
  return [
    PlanRow(
      difference,
      num_seeds,
      power_at(num_seeds, difference, std_of_differences, alpha, ratio),
      seeds_needed(difference, std_of_differences, power, alpha, ratio),
    )
    for difference in differences
  ]


def spread(
  variants: Mapping[str, Lanes], baseline: str = 'full', ratio: float | None = None
) -> Spread | None:
  """Estimates the standard deviation of paired differences from finished lanes.

  Args:
    variants: name -> {(seed, split): test accuracy as a fraction}, as for `holm.tests_table`.
    baseline: the variant that the others are compared with.
    ratio: not None: every split is an observation, the mean of its seeds.

  Returns:
    The standard deviation pooled over the variants that share at least two lanes with the baseline.
    If there are none, sqrt(2) times the pooled standard deviation of the lanes of each variant,
    which is right if paired lanes are uncorrelated. None if no variant has two lanes.
  """
  base = variants.get(baseline, {})
  pairs = [
    {key: lanes[key] - base[key] for key in lanes if key in base}
    for name, lanes in variants.items()
    if name != baseline
  ]
  observed = lambda lanes: list(
    (resampled.by_split(lanes) if ratio is not None else lanes).values()
  )
  differences = [observed(lanes) for lanes in pairs]
  pooled = _pooled_std(differences)
  if pooled is not None:
    return Spread(pooled, f'paired differences from {baseline}')
  pooled = _pooled_std([observed(lanes) for lanes in variants.values()])
  if pooled is None:
    return None
  return Spread(math.sqrt(2) * pooled, 'lanes of one variant, taken as unrelated between variants')


def _pooled_std(groups: Sequence[Sequence[float]]) -> float | None:
  arrays = [np.asarray(group) for group in groups if len(group) > 1]
  if not arrays:
    return None
  squares = sum(((array - array.mean()) ** 2).sum() for array in arrays)
  return float(math.sqrt(squares / sum(array.size - 1 for array in arrays)))
