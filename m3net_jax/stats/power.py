"""How many seeds: the power of the paired signed-rank test, before the lanes are trained.

Differences between two variants are taken as normal. Knows only `statistics`; no files, no flags.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from m3net_jax.stats.intervals import ALPHA
from m3net_jax.stats.wilcoxon import sign_null

_DRAWS = 20_000  # standard error of a power of 0.8: 0.003
_MOST_SIMULATED = 60  # beyond, the normal approximation is within 0.01
_MOST_SEEDS = 10_000


class Spread(NamedTuple):
  std: float  # of the difference of two lanes that share seed and split, a fraction
  source: str  # how it was found, in words


class PlanRow(NamedTuple):
  difference: float  # a fraction: 0.01 is one point
  num_seeds: int
  power: float  # at num_seeds
  seeds_needed: int | None  # for the power asked; None where 10,000 are not enough


def critical_value(n: int, alpha: float = ALPHA) -> int | None:
  """Largest smaller rank sum of n pairs that is significant at alpha two-sided; None where none is."""
  cumulative = np.cumsum(sign_null(2 * np.arange(1, n + 1))[::2])
  below = int(np.searchsorted(cumulative, alpha / 2, side='right'))
  return below - 1 if below else None


def power_at(n: int, difference: float, std_of_differences: float, alpha: float = ALPHA) -> float:
  """Power of the exact two-sided signed-rank test at alpha with n pairs, to see a true difference.

  By simulation with a fixed seed (same answer every time) up to 60 pairs, beyond by the normal
  approximation with the rank sum's own mean and variance under the alternative (E. L. Lehmann,
  Nonparametrics: Statistical Methods Based on Ranks, 1975, section 4.2).

  Args:
    n: pairs, that is seeds a variant.
    difference: true mean difference, a fraction.
    std_of_differences: standard deviation of the paired differences, a fraction; 0 means that every
      pair shows the same difference.
    alpha: 0.05, or less where the test is one of several.

  Raises:
    ValueError: n below 1, a difference of 0 or a negative or missing standard deviation.
  """
  if n < 1 or not difference or not std_of_differences >= 0:
    raise ValueError(
      f'power needs n >= 1, a difference other than 0 and a standard deviation >= 0, got '
      f'n = {n}, difference = {difference}, std = {std_of_differences}'
    )
  shift = abs(difference) / std_of_differences if std_of_differences else math.inf
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


def _normal_power(n: int, shift: float, alpha: float) -> float:
  one = stats.norm.cdf(shift)  # P(D1 > 0)
  two = stats.norm.cdf(math.sqrt(2) * shift)  # P(D1 + D2 > 0)
  # P(D1 + D2 > 0 and D1 + D3 > 0)
  three = stats.multivariate_normal.cdf([math.sqrt(2) * shift] * 2, cov=[[1, 0.5], [0.5, 1]])
  pairs = n * (n - 1) / 2
  mean = n * one + pairs * two
  variance = (
    n * one * (1 - one)
    + pairs * (2 * (one - two) ** 2 + 3 * two * (1 - two))
    + 2 * pairs * (n - 2) * (three - two**2)
  )
  under_null = math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
  reached = n * (n + 1) / 4 + stats.norm.ppf(1 - alpha / 2) * under_null + 0.5
  if variance <= 0:  # every pair agrees
    return float(mean >= reached)
  return float(stats.norm.cdf((mean - reached) / math.sqrt(variance)))


def seeds_needed(
  difference: float, std_of_differences: float, power: float = 0.8, alpha: float = ALPHA
) -> int | None:
  """Smallest number of pairs with at least this power; None where 10,000 are not enough."""
  if not 0 < power < 1:
    raise ValueError(f'power must lie between 0 and 1, got {power}')
  if power_at(_MOST_SEEDS, difference, std_of_differences, alpha) < power:
    return None
  low, high = 0, _MOST_SEEDS  # power_at(low) < power <= power_at(high)
  while high - low > 1:
    middle = (low + high) // 2
    if power_at(middle, difference, std_of_differences, alpha) < power:
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
) -> list[PlanRow]:
  """Power at num_seeds and seeds needed to see 0.5, 1 and 2 points."""
  return [
    PlanRow(
      difference,
      num_seeds,
      power_at(num_seeds, difference, std_of_differences, alpha),
      seeds_needed(difference, std_of_differences, power, alpha),
    )
    for difference in differences
  ]


def spread(
  variants: Mapping[str, Mapping[Hashable, float]], baseline: str = 'full'
) -> Spread | None:
  """Standard deviation of paired differences, from the lanes finished so far.

  Args:
    variants: name -> {pairing key: test accuracy as a fraction}, as for `statistics.tests_table`.
    baseline: the variant that the others are compared with.

  Returns: the standard deviation pooled over the variants that share two lanes or more with the
    baseline; with none, sqrt(2) times that of the lanes of the variants, which is right when pairing
    gains nothing; None where no variant has two lanes.
  """
  base = variants.get(baseline, {})
  differences = [
    [lanes[key] - base[key] for key in lanes if key in base]
    for name, lanes in variants.items()
    if name != baseline
  ]
  pooled = _pooled_std(differences)
  if pooled is not None:
    return Spread(pooled, f'paired differences from {baseline}')
  pooled = _pooled_std([list(lanes.values()) for lanes in variants.values()])
  if pooled is None:
    return None
  return Spread(math.sqrt(2) * pooled, 'lanes of one variant, taken as unrelated between variants')


def _pooled_std(groups: Sequence[Sequence[float]]) -> float | None:
  arrays = [np.asarray(group) for group in groups if len(group) > 1]
  if not arrays:
    return None
  squares = sum(((array - array.mean()) ** 2).sum() for array in arrays)
  return float(math.sqrt(squares / sum(array.size - 1 for array in arrays)))
