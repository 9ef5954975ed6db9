"""Holm's correction and the table of a study's tests, which are one family."""

from collections.abc import Mapping, Sequence

from m3net_jax.stats import resampled, wilcoxon
from m3net_jax.stats.intervals import ALPHA, wilson
from m3net_jax.stats.resampled import Lanes
from m3net_jax.stats.wilcoxon import Test, join, unreachable

MARGIN = 0.01  # within which two variants count as equally good, as a fraction: one point


def holm(p_values: Sequence[float | None]) -> list[float | None]:
  """Holm's step-down correction of a family of p-values; None stays None and is not counted.

  S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6, 1979.
  """
  order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
  corrected: list[float | None] = [None] * len(p_values)
  running = 0.0
  for rank, (p, i) in enumerate(order):
    running = max(running, min(1.0, p * (len(order) - rank)))
    corrected[i] = running
  return corrected


def tests_table(
  variants: Mapping[str, Lanes],
  baseline: str = 'full',
  *,
  ratio: float | None = None,
  margin: float = MARGIN,
) -> list[dict]:
  """Tests every variant against the baseline, with Holm's correction over all tests.

  Lanes are paired by seed and split. On one split every pair is an observation (Wilcoxon's
  signed-rank test); on several splits every split is one, the mean of its seeds
  (`resampled.paired`). Lanes without a partner are dropped and counted in `note`; if no lane has a
  partner, the test is unpaired. Differences are variant minus baseline.

  Args:
    variants: name -> {(seed, split): test accuracy as a fraction}, without lanes that have no
      result.
    baseline: the variant that the others are compared with.
    ratio: of `resampled.ratio_of`; None for one split.
    margin: within which a variant counts as equally good, as a fraction.

  Returns:
    One row per variant except the baseline, in the order of `variants`: `as_row`, with `p_holm` and
    `equivalence_p_holm` filled, and for several splits `signed_rank_p`, which takes them as
    independent. Its values can be written as JSON.

  Raises:
    ValueError: `baseline` is not one of the variants.
  """
  if baseline not in variants:
    raise ValueError(f'the baseline {baseline!r} is not among the variants {", ".join(variants)}')
  base, rows = variants[baseline], []
  for variant, lanes in variants.items():
    if variant == baseline:
      continue
    shared = [key for key in base if key in lanes]
    improvement = signed_rank = None
    if shared:
      pairs = [{key: side[key] for key in shared} for side in (lanes, base)]
      if ratio is None:
        first, second = (list(side.values()) for side in pairs)
        test = wilcoxon.paired(first, second, margin)
      else:
        first, second = (list(resampled.by_split(side).values()) for side in pairs)
        test = resampled.paired(first, second, ratio, margin)
        signed_rank = wilcoxon.paired(first, second)
      improvement = _improvement(first, second, ratio)
      unmatched = len(base) + len(lanes) - 2 * len(shared)
      note = join(f'{unmatched} lanes without a partner left out' if unmatched else '', test.note)
    else:
      test = wilcoxon.unpaired(list(lanes.values()), list(base.values()), margin)
      note = join('no lane shares seed and split with the baseline, so unpaired', test.note)
    if signed_rank and signed_rank.p_value is None:
      short = unreachable(f'n = {test.n} splits', signed_rank.smallest_p)
      note = join(note, f'by the signed-rank test {short}')
    rows.append(
      {
        **as_row(test, variant, baseline, margin, improvement),
        'signed_rank_p': signed_rank and signed_rank.p_value,
        'note': note,
      }
    )
  correct(rows)
  return rows


def _improvement(
  first: Sequence[float], second: Sequence[float], ratio: float | None
) -> tuple[float, tuple[float, float]]:
  """Share of the pairs in which `first` is higher, and its 95 % interval; a tie counts half.

  Over splits the number of pairs is divided by the correction of their variance.
  """
  differences = [round(a - b, 9) for a, b in zip(first, second)]
  n = len(differences)
  share = sum((difference > 0) + (difference == 0) / 2 for difference in differences) / n
  effective = n / (1 + n * (ratio or 0.0))
  return share, wilson(share * effective, effective)


def correct(rows: Sequence[dict]) -> None:
  """Fills `p_holm` and `equivalence_p_holm` of the rows in place: two families.

  One family are the tests of a difference of all rows, the other one those of equivalence. Adds a
  note to each row whose smallest possible p-value, once corrected, is above ALPHA.
  """
  for row, p_holm in zip(rows, holm([row['equivalence_p'] for row in rows])):
    row['equivalence_p_holm'] = p_holm
  tested = [row for row in rows if row['p_value'] is not None]
  # Holm's correction grows with each p-value, so the smallest possible p-values give the smallest
  # possible corrected ones.
  for row, p_holm, smallest in zip(
    tested, holm([row['p_value'] for row in tested]), holm([row['smallest_p'] for row in tested])
  ):
    row['p_holm'] = p_holm
    if smallest is not None and smallest > ALPHA:
      row['note'] = join(
        row['note'], unreachable(f'with Holm over {len(tested)} tests n = {row["n"]}', smallest)
      )


def as_row(
  test: Test,
  variant: str,
  against: str,
  margin: float | None = None,
  improvement: tuple[float, tuple[float, float]] | None = None,
) -> dict:
  """A test as a row of "tests" in results.json; `correct` fills the corrected p-values.

  `equivalent_within` is the smallest margin within which the two would count as equally good by
  this test alone, without Holm's correction.
  """
  return {
    'name': test.name,
    'variant': variant,
    'against': against,
    'method': test.method,
    'n': test.n,
    'statistic': test.statistic,
    'p_value': test.p_value,
    'p_holm': None,
    'signed_rank_p': None,
    'effect_size': test.effect_size,
    'estimator': test.estimator,
    'difference': test.difference,
    'difference_ci95': list(test.ci95) if test.ci95 else None,
    'interval_method': test.interval_method,
    'margin': margin,
    'equivalence_p': test.equivalence_p,
    'equivalence_p_holm': None,
    'equivalent_within': max(map(abs, test.ci90)) if test.ci90 else None,
    'improvement': improvement[0] if improvement else None,
    'improvement_ci95': list(improvement[1]) if improvement else None,
    'zero_differences': test.zero_differences,
    'ties': test.ties,
    'smallest_p': test.smallest_p,
    'note': test.note,
  }
