"""Holm's correction and the table of a study's tests, which are one family."""

from collections.abc import Hashable, Mapping, Sequence

from m3net_jax.stats.intervals import ALPHA
from m3net_jax.stats.wilcoxon import Test, join, paired, unpaired, unreachable


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
  variants: Mapping[str, Mapping[Hashable, float]], baseline: str = 'full'
) -> list[dict]:
  """Tests every variant against the baseline, with Holm's correction over all tests.

  Lanes are paired by key. Lanes without a partner are dropped and counted in `note`; if no lane has
  a partner, the test is unpaired. Differences are variant minus baseline.

  Args:
    variants: name -> {pairing key, such as (seed, split id): test accuracy as a fraction}, without
      lanes that have no result.
    baseline: the variant that the others are compared with.

  Returns:
    One row per variant except the baseline, in the order of `variants`: `as_row`, with `p_holm`
    filled. Its values can be written as JSON.

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
    if shared:
      test = paired([lanes[key] for key in shared], [base[key] for key in shared])
      unmatched = len(base) + len(lanes) - 2 * len(shared)
      note = join(f'{unmatched} lanes without a partner left out' if unmatched else '', test.note)
    else:
      test = unpaired(list(lanes.values()), list(base.values()))
      note = join('no lane shares seed and split with the baseline, so unpaired', test.note)
    rows.append({**as_row(test, variant, baseline), 'note': note})
  correct(rows)
  return rows


def correct(rows: Sequence[dict]) -> None:
  """Fills `p_holm` of the rows of one family in place.

  Adds a note to each row whose smallest possible p-value, once corrected, is above ALPHA.
  """
  tested = [row for row in rows if row['p_value'] is not None]
  # Holm's correction grows with each p-value, so the smallest possible p-values give the smallest
  # possible corrected ones.
  for row, p_holm, smallest in zip(
    tested, holm([row['p_value'] for row in tested]), holm([row['smallest_p'] for row in tested])
  ):
    row['p_holm'] = p_holm
    if smallest is not None and smallest > ALPHA:
      nonzero = row['n'] - row['zero_differences']
      lanes = f'n = {row["n"]}' + (
        f' with {nonzero} differences other than zero' if nonzero < row['n'] else ''
      )
      row['note'] = join(
        row['note'], unreachable(f'with Holm over {len(tested)} tests {lanes}', smallest)
      )


def as_row(test: Test, variant: str, against: str) -> dict:
  """A test as a row of "tests" in results.json; `p_holm` is None until `correct` fills it."""
  interval = test.hodges_lehmann_ci95
  return {
    'name': test.name,
    'variant': variant,
    'against': against,
    'method': test.method,
    'n': test.n,
    'statistic': test.statistic,
    'p_value': test.p_value,
    'p_holm': None,
    'effect_size': test.effect_size,
    'hodges_lehmann': test.hodges_lehmann,
    'hodges_lehmann_ci95': list(interval) if interval else None,
    'interval_method': test.interval_method,
    'zero_differences': test.zero_differences,
    'ties': test.ties,
    'smallest_p': test.smallest_p,
    'note': test.note,
  }
