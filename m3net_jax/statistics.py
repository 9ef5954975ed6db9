"""Tests between variants, from lanes: signed-rank, rank-sum, Holm, intervals of a mean.

Pure functions on numpy arrays of accuracies (fractions, float64: correct / clips). Knows nothing of
files, flags, studies or networks. A lane is one draw of (seed, split); the tests speak about the
training procedure on this corpus, not about other corpora.
"""
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

ALPHA = 0.05  # two-sided level of every decision and 1 - level of every interval

# Accuracies are counts divided by clips, so equal differences come out of float subtraction unequal
# in their last bits and would be ranked apart. Real differences are never this close.
_DECIMALS = 9

# The exact rank-sum table grows with the cube of the lanes: 0.1 s at 100, minutes at 1,000.
_MOST_LANES_EXACT = 100


class Test(NamedTuple):
  """One test, ready for a table. Differences and their interval are fractions (0.01 is one point)."""
  name: str
  method: str
  n: int
  statistic: float | None  # smaller rank sum (signed-rank), U of the first sample (rank-sum)
  p_value: float | None  # two-sided; None where n cannot reach ALPHA, and `note` says so
  effect_size: float | None  # rank-biserial, -1 to 1, positive where the first sample is higher
  hodges_lehmann: float
  hodges_lehmann_ci95: tuple[float, float] | None
  interval_method: str
  zero_differences: int
  ties: int  # values that share their size with another one
  smallest_p: float
  note: str


class MeanInterval(NamedTuple):
  mean: float
  std: float | None  # ddof = 1; None for a single lane
  interval: tuple[float, float] | None  # Student t, 95 %; None for a single lane


def mean_interval(values: ArrayLike) -> MeanInterval:
  """Mean, standard deviation (ddof 1) and Student t 95 % interval of the mean of values [lanes]."""
  values = _checked(values, 'values')
  mean = float(values.mean())
  if values.size == 1:
    return MeanInterval(mean, None, None)
  std = float(values.std(ddof=1))
  half = float(stats.t.ppf(1 - ALPHA / 2, values.size - 1)) * std / math.sqrt(values.size)
  return MeanInterval(mean, std, (mean - half, mean + half))


def paired(a: ArrayLike, b: ArrayLike) -> Test:
  """Wilcoxon signed-rank test on a - b, both [lanes] in the same order of (seed, split).

  Zero differences are dropped before ranking (Wilcoxon's rule) and counted. Without ties p is
  scipy's exact one; with ties it comes from all sign assignments of the mid-ranks, also exact
  (scipy itself turns to the normal approximation from 14 lanes on).

  Raises:
    ValueError: lengths differ, or an accuracy is missing (NaN) or absent altogether.
  """
  a, b = _checked(a, 'a'), _checked(b, 'b')
  if a.size != b.size:
    raise ValueError(f'paired lanes need one partner each: {a.size} lanes against {b.size}')
  return _signed_rank('Wilcoxon signed-rank, paired by seed and split', a - b)


def one_sample(a: ArrayLike, published: float) -> Test:
  """One-sample Wilcoxon signed-rank test of a [lanes] against a published single figure (a fraction).

  The figure is taken as exact although it is itself the mean or best of some runs, so the test says
  whether these lanes lie about that figure, not whether the two methods differ.
  """
  return _signed_rank(f'one-sample Wilcoxon signed-rank against the published {published:.2%}',
                      _checked(a, 'a') - published)


def _signed_rank(name: str, differences: np.ndarray) -> Test:
  walsh = np.sort(((differences[:, None] + differences) / 2)[np.triu_indices(differences.size)])
  differences = np.round(differences, _DECIMALS)
  nonzero = differences[differences != 0]
  n, m = differences.size, nonzero.size
  ranks = stats.rankdata(np.abs(nonzero))
  ties = _tied(np.abs(nonzero))
  plus, minus = float(ranks[nonzero > 0].sum()), float(ranks[nonzero < 0].sum())
  statistic = min(plus, minus)
  smallest = min(1.0, 2.0 ** (1 - m))
  method = 'exact'
  if ties:
    method = 'exact over all sign assignments of the mid-ranks'
    null = sign_null(np.rint(2 * ranks).astype(int))
    p_value = min(1.0, 2 * float(null[:round(2 * statistic) + 1].sum()))
  elif m:
    p_value = float(stats.wilcoxon(nonzero, method='exact').pvalue)
  else:
    p_value = 1.0
  if m < n:
    method += ', zero differences dropped'
  null = sign_null(2 * np.arange(1, n + 1))[::2]  # doubled ranks, so only even sums occur
  note = _join(f'{n - m} zero differences dropped' if m < n else '',
               f'{ties} tied differences' if ties else '')
  if smallest > ALPHA:
    p_value = None
    left = f'n = {n}' if m == n else f'n = {n} with {m} differences other than zero'
    note = _join(_unreachable(left, smallest), note)
  return Test(name, method, n, statistic, p_value,
              (plus - minus) / (plus + minus) if m else 0.0, float(np.median(walsh)),
              _order_interval(walsh, null), 'Walsh averages at the exact signed-rank quantiles',
              n - m, ties, smallest, note)


def unpaired(a: ArrayLike, b: ArrayLike) -> Test:
  """Wilcoxon rank-sum (Mann-Whitney U) test of a [lanes] against b [other lanes], no pairing.

  Without ties p is scipy's exact one; with ties it comes from all divisions of the mid-ranks, and
  beyond 100 lanes in all from the normal approximation with tie correction. n is the sum of both.
  """
  a, b = _checked(a, 'a'), _checked(b, 'b')
  differences = np.sort((a[:, None] - b).ravel())
  both = np.round(np.concatenate([a, b]), _DECIMALS)
  n, ties = both.size, _tied(both)
  exact = n <= _MOST_LANES_EXACT
  doubled = np.rint(2 * stats.rankdata(both)).astype(int)
  smallest = 2 / math.comb(n, a.size)
  if exact and ties:
    method = 'exact over all divisions of the mid-ranks'
    statistic = float(doubled[:a.size].sum() / 2 - a.size * (a.size + 1) / 2)
    null = division_null(doubled, a.size)
    seen = int(doubled[:a.size].sum())
    p_value = min(1.0, 2 * float(min(null[:seen + 1].sum(), null[seen:].sum())))
    reached = null[null > 0]
    smallest = min(1.0, 2 * float(min(reached[0], reached[-1])))
  else:
    method = 'exact' if exact else 'normal approximation with tie correction'
    result = stats.mannwhitneyu(both[:a.size], both[a.size:], method='exact' if exact else 'asymptotic')
    statistic, p_value = float(result.statistic), float(result.pvalue)
  if exact:
    null = division_null(2 * np.arange(1, n + 1), a.size)[a.size * (a.size + 1)::2]
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
    note = _join(_unreachable(f'n = {a.size} + {b.size}', smallest), note)
  return Test('Wilcoxon rank-sum, unpaired', method, n, statistic, p_value,
              2 * statistic / (a.size * b.size) - 1, float(np.median(differences)), interval,
              interval_method, 0, ties, smallest, note)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
  """Holm's step-down correction over the family of the p-values that exist; None stays None.

  S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6, 1979.
  """
  order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
  corrected: list[float | None] = [None] * len(p_values)
  running = 0.0
  for rank, (p, i) in enumerate(order):
    running = max(running, min(1.0, p * (len(order) - rank)))
    corrected[i] = running
  return corrected


def tests_table(variants: Mapping[str, Mapping[Hashable, float]], baseline: str = 'full') -> list[dict]:
  """Every variant against the baseline, with Holm's correction over all of them.

  Args:
    variants: name -> {pairing key, such as (seed, split id): test accuracy as a fraction}. Lanes
      without a result are left out by the caller.
    baseline: the variant that the others are compared with.

  Returns: one dictionary a variant, in the order given, of values that JSON can hold. Lanes are paired
    by key; lanes without a partner are dropped and counted in `note`; without any partner the test is
    the unpaired one. Differences are variant minus baseline.
  """
  if baseline not in variants:
    raise ValueError(f'the baseline {baseline!r} is not among the variants {", ".join(variants)}')
  base, rows = variants[baseline], []
  for variant, lanes in variants.items():
    if variant == baseline:
      continue
    shared = [key for key in base if key in lanes]
    if shared:
      test = paired([lanes[key] for key in shared], [base[key] for key in shared])
      alone = len(base) + len(lanes) - 2 * len(shared)
      note = _join(f'{alone} lanes without a partner left out' if alone else '', test.note)
    else:
      test = unpaired(list(lanes.values()), list(base.values()))
      note = _join('no lane shares seed and split with the baseline, so unpaired', test.note)
    rows.append({**as_row(test, variant, baseline), 'note': note})
  correct(rows)
  return rows


def correct(rows: Sequence[dict]) -> None:
  """Fills `p_holm` of rows that are one family, and notes where so many tests of so few lanes cannot reach ALPHA."""
  tested = [row for row in rows if row['p_value'] is not None]
  # Holm's correction grows with each of its p-values, so the smallest of all give the smallest corrected ones.
  for row, p_holm, least in zip(tested, holm([row['p_value'] for row in tested]),
                                holm([row['smallest_p'] for row in tested])):
    row['p_holm'] = p_holm
    if least > ALPHA:
      left = row['n'] - row['zero_differences']
      lanes = f'n = {row["n"]}' + (f' with {left} differences other than zero' if left < row['n'] else '')
      row['note'] = _join(row['note'], _unreachable(f'with Holm over {len(tested)} tests {lanes}', least))


def as_row(test: Test, variant: str, against: str) -> dict:
  """A test as a row of results.json's "tests"; `p_holm` is None until the family is known."""
  interval = test.hodges_lehmann_ci95
  return {'name': test.name, 'variant': variant, 'against': against, 'method': test.method, 'n': test.n,
          'statistic': test.statistic, 'p_value': test.p_value, 'p_holm': None,
          'effect_size': test.effect_size, 'hodges_lehmann': test.hodges_lehmann,
          'hodges_lehmann_ci95': list(interval) if interval else None,
          'interval_method': test.interval_method, 'zero_differences': test.zero_differences,
          'ties': test.ties, 'smallest_p': test.smallest_p, 'note': test.note}


def sign_null(ranks: np.ndarray) -> np.ndarray:
  """Probability of each sum 0, 1, ... of the positive ranks when every sign is a fair coin.

  `ranks` [lanes] are positive integers; doubled mid-ranks are. Returns [ranks.sum() + 1].
  """
  null = np.zeros(int(ranks.sum()) + 1)
  null[0] = 1.0
  for rank in ranks:
    null[rank:], null[:rank] = (null[rank:] + null[:-rank]) / 2, null[:rank] / 2
  return null


def division_null(ranks: np.ndarray, size: int) -> np.ndarray:
  """Probability of each rank sum 0, 1, ... of `size` of the integer ranks drawn without return."""
  counts = np.zeros((size + 1, int(ranks.sum()) + 1))
  counts[0, 0] = 1.0
  for rank in ranks:
    counts[1:, rank:] += counts[:-1, :-rank]
  return counts[size] / math.comb(len(ranks), size)


def _order_interval(ordered: np.ndarray, null: np.ndarray) -> tuple[float, float] | None:
  """The 95 % interval between order statistics, cut where the null distribution leaves 2.5 % a side."""
  cut = int(np.searchsorted(np.cumsum(null), ALPHA / 2, side='right'))
  return (float(ordered[cut - 1]), float(ordered[-cut])) if cut else None


def _tied(values: np.ndarray) -> int:
  counts = np.unique(values, return_counts=True)[1]
  return int(counts[counts > 1].sum())


def _unreachable(lanes: str, smallest: float) -> str:
  return f'{lanes} cannot reach {ALPHA} (smallest possible p = {smallest:.3g})'


def _join(*sentences: str) -> str:
  return '; '.join(sentence for sentence in sentences if sentence)


def _checked(values: ArrayLike, name: str) -> np.ndarray:
  values = np.asarray(values, dtype=np.float64)
  if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
    raise ValueError(f'{name} must be a non-empty list of finite accuracies, got {values.tolist()}')
  return values
