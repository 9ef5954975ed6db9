"""Wilcoxon tests between the observations of variants: signed-rank and rank-sum.

Pure functions on numpy arrays of accuracies (fractions, float64: correct / clips). The p-value, the
interval and the test of equivalence of a row come from one test: the interval holds the differences
that the test does not reject, so 0 is outside the 95 % interval exactly if p is at most 0.05.
"""

import functools
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
  """One test. Differences and their intervals are fractions (0.01 is one point).

  Attributes:
    n: number of observations.
    statistic: the smaller rank sum (signed-rank), U of the first sample (rank-sum), or t.
    p_value: two-sided; None if n cannot reach ALPHA, and `note` says so.
    effect_size: rank-biserial, -1 to 1, positive if the first sample is higher.
    difference: the estimate by `estimator`, the first sample minus the second.
    ci95, ci90: intervals of the difference; None if n is too small.
    equivalence_p: of the two one-sided tests that the difference lies within the margin; None
      without a margin, or if n cannot reach ALPHA.
    zero_differences: pairs without a difference.
    ties: values whose magnitude another value has too.
    smallest_p: the smallest p_value that n can reach.
  """

  name: str
  method: str
  n: int
  statistic: float | None
  p_value: float | None
  effect_size: float | None
  estimator: str
  difference: float
  ci95: tuple[float, float] | None
  ci90: tuple[float, float] | None
  interval_method: str
  equivalence_p: float | None
  zero_differences: int
  ties: int
  smallest_p: float
  note: str


def paired(a: ArrayLike, b: ArrayLike, margin: float | None = None) -> Test:
  """Wilcoxon signed-rank test on a - b, both [observations] in the same order of pairs.

  The distribution is the exact one without ties. Zero differences count half to each side and ties
  have mid-ranks, which keeps the level (`tests.benchmarks.inference_units` measures it).

  Args:
    margin: for the test of equivalence, a fraction: 0.01 is one point.

  Raises:
    ValueError: the lengths differ, an accuracy is not finite, or there are none.
  """
  a, b = checked(a, 'a'), checked(b, 'b')
  if a.size != b.size:
    raise ValueError(f'paired lanes need one partner each: {a.size} lanes against {b.size}')
  return _signed_rank('Wilcoxon signed-rank, paired by seed and split', a - b, margin)


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
    None,
  )


def _signed_rank(name: str, differences: np.ndarray, margin: float | None) -> Test:
  differences = np.round(differences, _DECIMALS)
  n, zeros = differences.size, int((differences == 0).sum())
  ties = _tied(np.abs(differences[differences != 0]))
  # The rank sum of the positive differences is the number of positive Walsh averages.
  walsh = np.round((differences[:, None] + differences)[np.triu_indices(n)], _DECIMALS) / 2
  inverted = _Inverted(np.sort(walsh), _rank_null(n))
  smallest = 2.0 ** (1 - n)
  notes = [f'{zeros} zero differences' if zeros else '', f'{ties} tied differences' if ties else '']
  if smallest > ALPHA:
    notes.insert(0, unreachable(f'n = {n}', smallest))
  return Test(
    name,
    'exact' + (', zeros count half and ties have mid-ranks' if zeros or ties else ''),
    n,
    inverted.statistic,
    inverted.p_value if smallest <= ALPHA else None,
    rank_biserial(differences),
    'Hodges-Lehmann',
    float(np.median(walsh)),
    inverted.interval(ALPHA),
    inverted.interval(2 * ALPHA),
    'the differences that the signed-rank test does not reject',
    inverted.equivalence_p(margin) if margin is not None and smallest / 2 <= ALPHA else None,
    zeros,
    ties,
    smallest,
    join(*notes),
  )


def rank_biserial(differences: np.ndarray) -> float:
  """Share of the rank sum of the positive differences [observations] minus that of the negative."""
  nonzero = np.round(differences, _DECIMALS)
  nonzero = nonzero[nonzero != 0]
  ranks = stats.rankdata(np.abs(nonzero))
  return float((np.sign(nonzero) * ranks).sum() / ranks.sum()) if nonzero.size else 0.0


def unpaired(a: ArrayLike, b: ArrayLike, margin: float | None = None) -> Test:
  """Wilcoxon rank-sum (Mann-Whitney U) test of a [lanes] against b [other lanes], no pairing.

  Up to 100 lanes in total the distribution is the exact one without ties, with more lanes the
  normal approximation with continuity correction. Ties count half. n is the total number of lanes.

  Args:
    margin: for the test of equivalence, a fraction: 0.01 is one point.

  Raises:
    ValueError: an accuracy is not finite, or a sample is empty.
  """
  a, b = checked(a, 'a'), checked(b, 'b')
  differences = np.sort(np.round(a[:, None] - b, _DECIMALS).ravel())
  pooled = np.round(np.concatenate([a, b]), _DECIMALS)
  n, ties = pooled.size, _tied(pooled)
  if n <= _MOST_LANES_EXACT:
    method = 'exact' + (', ties count half' if ties else '')
    null = division_null(2 * np.arange(1, n + 1), a.size)[a.size * (a.size + 1) :: 2]
  else:
    method = 'normal approximation' + (', ties count half' if ties else '')
    spread = math.sqrt(a.size * b.size * (n + 1) / 12)
    edges = np.arange(-1, differences.size + 1) + 0.5
    null = np.diff(stats.norm.cdf((edges - differences.size / 2) / spread))
    null[0] += stats.norm.cdf((-0.5 - differences.size / 2) / spread)
  inverted = _Inverted(differences, null)
  above = (differences > 0).sum() + (differences == 0).sum() / 2
  smallest = 2 / math.comb(n, a.size)
  note = f'{ties} tied accuracies' if ties else ''
  if smallest > ALPHA:
    note = join(unreachable(f'n = {a.size} + {b.size}', smallest), note)
  return Test(
    'Wilcoxon rank-sum, unpaired',
    method,
    n,
    float(above),
    inverted.p_value if smallest <= ALPHA else None,
    float(2 * above / differences.size - 1),
    'Hodges-Lehmann',
    float(np.median(differences)),
    inverted.interval(ALPHA),
    inverted.interval(2 * ALPHA),
    'the differences that the rank-sum test does not reject',
    inverted.equivalence_p(margin) if margin is not None and smallest / 2 <= ALPHA else None,
    0,
    ties,
    smallest,
    note,
  )


class _Inverted:
  """A test whose statistic counts the values above and below the difference that is tested.

  Args:
    values: ascending; Walsh averages (signed-rank) or pairwise differences (rank-sum).
    null: probability that 0, 1, ... of the values are below the true difference.
  """

  def __init__(self, values: np.ndarray, null: np.ndarray):
    self._values, self._tail = values, np.minimum(np.cumsum(null), 1.0)

  def _sides(self, difference: float) -> tuple[float, float]:
    """Number of values below and above; one that is equal counts half to each side."""
    difference = round(difference, _DECIMALS + 1)
    below = float((self._values < difference).sum() + (self._values == difference).sum() / 2)
    return below, self._values.size - below

  def _probability(self, count: float) -> float:
    return float(self._tail[math.floor(count)])

  @property
  def statistic(self) -> float:
    return min(self._sides(0.0))

  @property
  def p_value(self) -> float:
    return min(1.0, 2 * self._probability(self.statistic))

  def equivalence_p(self, margin: float) -> float:
    """The larger p of the tests of 'at most -margin' and 'at least margin' (Schuirmann 1987)."""
    return max(
      self._probability(self._sides(-margin)[0]), self._probability(self._sides(margin)[1])
    )

  def interval(self, alpha: float) -> tuple[float, float] | None:
    """The ends of the differences with p above alpha; None if every difference has."""
    cut = int(np.searchsorted(self._tail, alpha / 2, side='right'))
    if not cut:
      return None
    return _end(self._values, cut), -_end(-self._values[::-1], cut)


def _end(ascending: np.ndarray, cut: int) -> float:
  """The difference at which the rejection ends, going up: less than `cut` values lie below.

  If this is 0 and 0 itself is rejected, because values are tied there, the end is half-way to the
  next value, so that the interval does not contain the rejected 0.
  """
  value = float(ascending[cut - 1])
  below = (ascending < value).sum() + (ascending == value).sum() / 2
  if value == 0 and math.floor(below) < cut:
    return float(ascending[ascending > 0][0] / 2)
  return value


def sign_null(ranks: np.ndarray) -> np.ndarray:
  """Probability of each sum 0, 1, ... of the positive ranks if every sign is a fair coin.

  Args:
    ranks: [lanes] positive integers, such as doubled ranks.

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
    ranks: [lanes] positive integers, such as doubled ranks.
    size: lanes of the first sample.

  Returns:
    [ranks.sum() + 1].
  """
  counts = np.zeros((size + 1, int(ranks.sum()) + 1))
  counts[0, 0] = 1.0
  for rank in ranks:
    counts[1:, rank:] += counts[:-1, :-rank]
  return counts[size] / math.comb(len(ranks), size)


@functools.cache
def _rank_null(n: int) -> np.ndarray:
  """Probability of each sum 0, 1, ... of the positive ranks 1 to n."""
  return sign_null(2 * np.arange(1, n + 1))[::2]  # doubled, so that only even sums occur


def _tied(values: np.ndarray) -> int:
  counts = np.unique(values, return_counts=True)[1]
  return int(counts[counts > 1].sum())


def unreachable(lanes: str, smallest: float) -> str:
  """The note of a test of `lanes` that cannot reach ALPHA."""
  return f'{lanes} cannot reach {ALPHA} (smallest possible p = {smallest:.3g})'


def join(*sentences: str) -> str:
  """Joins the sentences of a note by semicolons; empty ones are left out."""
  return '; '.join(sentence for sentence in sentences if sentence)
