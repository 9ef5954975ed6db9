"""Wilcoxon tests between the lanes of variants: signed-rank and rank-sum.

Pure functions on numpy arrays of accuracies (fractions, float64: correct / clips). A lane is one
draw of (seed, split); the tests are about the training procedure on this corpus, not about other
corpora.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from m3net_jax.stats.intervals import ALPHA, checked

# Accuracies are counts divided by clips. Float subtraction makes equal differences unequal in their
# last bits, so they would get different ranks. Unequal differences are never this close.
_DECIMALS = 9
# The time of the exact rank-sum table grows with the cube of the lanes: 0.1 s for 100, minutes for
# 1,000.
_MOST_LANES_EXACT = 100


class Test(NamedTuple):
  """One test. Differences and their interval are fractions (0.01 is one point)."""

  name: str
  method: str
  n: int
  statistic: float | None  # smaller rank sum (signed-rank), U of the first sample (rank-sum)
  p_value: float | None  # two-sided; None if n cannot reach ALPHA, and `note` says so
  effect_size: float | None  # rank-biserial, -1 to 1, positive if the first sample is higher
  hodges_lehmann: float
  hodges_lehmann_ci95: tuple[float, float] | None
  interval_method: str
  zero_differences: int
  ties: int  # values whose magnitude another value has too
  smallest_p: float
  note: str


def paired(a: ArrayLike, b: ArrayLike) -> Test:
  """Wilcoxon signed-rank test on a - b, both [lanes] in the same order of (seed, split).

  Zero differences are dropped before ranking (Wilcoxon's rule) and counted. p is always exact:
  without ties it is scipy's exact p, with ties it comes from all sign assignments of the mid-ranks
  (with ties and 14 or more lanes scipy itself uses the normal approximation).

  Raises:
    ValueError: the lengths differ, an accuracy is not finite, or there are none.
  """
  a, b = checked(a, 'a'), checked(b, 'b')
  if a.size != b.size:
    raise ValueError(f'paired lanes need one partner each: {a.size} lanes against {b.size}')
  return _signed_rank('Wilcoxon signed-rank, paired by seed and split', a - b)


def one_sample(a: ArrayLike, published: float) -> Test:
  """One-sample Wilcoxon signed-rank test of a [lanes] against one published figure (a fraction).

  The figure is the mean or the best of some runs but is taken as exact. So the test says whether
  these lanes are centred on the figure, not whether the two methods differ.

  Raises:
    ValueError: an accuracy is not finite, or there are none.
  """
  return _signed_rank(
    f'one-sample Wilcoxon signed-rank against the published {published:.2%}',
    checked(a, 'a') - published,
  )


def _signed_rank(name: str, differences: np.ndarray) -> Test:
  walsh = np.sort(((differences[:, None] + differences) / 2)[np.triu_indices(differences.size)])
  differences = np.round(differences, _DECIMALS)
  nonzero = differences[differences != 0]
  n, m = differences.size, nonzero.size
  ranks = stats.rankdata(np.abs(nonzero))
  ties = _tied(np.abs(nonzero))
  plus, minus = float(ranks[nonzero > 0].sum()), float(ranks[nonzero < 0].sum())
  statistic = min(plus, minus)
  p_value: float | None
  smallest = min(1.0, 2.0 ** (1 - m))
  method = 'exact'
  if ties:
    method = 'exact over all sign assignments of the mid-ranks'
    null = sign_null(np.rint(2 * ranks).astype(int))
    p_value = min(1.0, 2 * float(null[: round(2 * statistic) + 1].sum()))
  elif m:
    p_value = float(stats.wilcoxon(nonzero, method='exact').pvalue)
  else:
    p_value = 1.0
  if m < n:
    method += ', zero differences dropped'
  null = sign_null(2 * np.arange(1, n + 1))[::2]  # doubled ranks, so only even sums occur
  note = join(
    f'{n - m} zero differences dropped' if m < n else '', f'{ties} tied differences' if ties else ''
  )
  if smallest > ALPHA:
    p_value = None
    lanes = f'n = {n}' if m == n else f'n = {n} with {m} differences other than zero'
    note = join(unreachable(lanes, smallest), note)
  return Test(
    name,
    method,
    n,
    statistic,
    p_value,
    (plus - minus) / (plus + minus) if m else 0.0,
    float(np.median(walsh)),
    _order_interval(walsh, null),
    'Walsh averages at the exact signed-rank quantiles',
    n - m,
    ties,
    smallest,
    note,
  )


def unpaired(a: ArrayLike, b: ArrayLike) -> Test:
  """Wilcoxon rank-sum (Mann-Whitney U) test of a [lanes] against b [other lanes], no pairing.

  Up to 100 lanes in total p is exact: without ties it is scipy's exact p, with ties it comes from
  all divisions of the mid-ranks. With more lanes it is the normal approximation with tie
  correction. n is the total number of lanes.

  Raises:
    ValueError: an accuracy is not finite, or a sample is empty.
  """
  a, b = checked(a, 'a'), checked(b, 'b')
  differences = np.sort((a[:, None] - b).ravel())
  pooled = np.round(np.concatenate([a, b]), _DECIMALS)
  n, ties = pooled.size, _tied(pooled)
  exact = n <= _MOST_LANES_EXACT
  doubled = np.rint(2 * stats.rankdata(pooled)).astype(int)
  smallest = 2 / math.comb(n, a.size)
  p_value: float | None
  if exact and ties:
    method = 'exact over all divisions of the mid-ranks'
    statistic = float(doubled[: a.size].sum() / 2 - a.size * (a.size + 1) / 2)
    null = division_null(doubled, a.size)
    rank_sum = int(doubled[: a.size].sum())
    p_value = min(1.0, 2 * float(min(null[: rank_sum + 1].sum(), null[rank_sum:].sum())))
    possible = null[null > 0]
    smallest = min(1.0, 2 * float(min(possible[0], possible[-1])))
  else:
    method = 'exact' if exact else 'normal approximation with tie correction'
    result = stats.mannwhitneyu(
      pooled[: a.size], pooled[a.size :], method='exact' if exact else 'asymptotic'
    )
    statistic, p_value = float(result.statistic), float(result.pvalue)
  if exact:
    null = division_null(2 * np.arange(1, n + 1), a.size)[a.size * (a.size + 1) :: 2]
    interval = _order_interval(differences, null)
    interval_method = 'pairwise differences at the exact rank-sum quantiles'
  else:
    spread = math.sqrt(a.size * b.size * (n + 1) / 12)
    cut = math.floor(a.size * b.size / 2 - stats.norm.ppf(1 - ALPHA / 2) * spread)
    interval = (float(differences[cut - 1]), float(differences[-cut])) if cut > 0 else None
    interval_method = 'pairwise differences at the normal rank-sum quantiles'
  note = f'{ties} tied accuracies' if ties else ''
  if smallest > ALPHA:
    p_value = None
    note = join(unreachable(f'n = {a.size} + {b.size}', smallest), note)
  return Test(
    'Wilcoxon rank-sum, unpaired',
    method,
    n,
    statistic,
    p_value,
    2 * statistic / (a.size * b.size) - 1,
    float(np.median(differences)),
    interval,
    interval_method,
    0,
    ties,
    smallest,
    note,
  )


def sign_null(ranks: np.ndarray) -> np.ndarray:
  """Probability of each sum 0, 1, ... of the positive ranks if every sign is a fair coin.

  Args:
    ranks: [lanes] positive integers, such as doubled mid-ranks.

  Returns:
    [ranks.sum() + 1].
  """
  null = np.zeros(int(ranks.sum()) + 1)
  null[0] = 1.0
  for rank in ranks:
    null[rank:], null[:rank] = (null[rank:] + null[:-rank]) / 2, null[:rank] / 2
  return null


def division_null(ranks: np.ndarray, size: int) -> np.ndarray:
  """Probability of each rank sum 0, 1, ... if `size` of the ranks are drawn without replacement.

  Args:
    ranks: [lanes] positive integers, such as doubled mid-ranks.
    size: lanes of the first sample.

  Returns:
    [ranks.sum() + 1].
  """
  counts = np.zeros((size + 1, int(ranks.sum()) + 1))
  counts[0, 0] = 1.0
  for rank in ranks:
    counts[1:, rank:] += counts[:-1, :-rank]
  return counts[size] / math.comb(len(ranks), size)


def _order_interval(ordered: np.ndarray, null: np.ndarray) -> tuple[float, float] | None:
  """The 95 % interval between order statistics: at most 2.5 % of the null distribution per side.

  None if there are too few values for it.
  """
  cut = int(np.searchsorted(np.cumsum(null), ALPHA / 2, side='right'))
  return (float(ordered[cut - 1]), float(ordered[-cut])) if cut else None


def _tied(values: np.ndarray) -> int:
  counts = np.unique(values, return_counts=True)[1]
  return int(counts[counts > 1].sum())


def unreachable(lanes: str, smallest: float) -> str:
  """The note of a test of `lanes` that cannot reach ALPHA."""
  return f'{lanes} cannot reach {ALPHA} (smallest possible p = {smallest:.3g})'


def join(*sentences: str) -> str:
  """Joins the sentences of a note by semicolons; empty ones are left out."""
  return '; '.join(sentence for sentence in sentences if sentence)
