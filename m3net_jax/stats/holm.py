"""Holm's correction, and the tests of a study as one family."""

from collections.abc import Hashable, Mapping, Sequence

from m3net_jax.stats.intervals import ALPHA
from m3net_jax.stats.wilcoxon import Test, join, paired, unpaired, unreachable


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


def tests_table(
  variants: Mapping[str, Mapping[Hashable, float]], baseline: str = 'full'
) -> list[dict]:
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
      note = join(f'{alone} lanes without a partner left out' if alone else '', test.note)
    else:
      test = unpaired(list(lanes.values()), list(base.values()))
      note = join('no lane shares seed and split with the baseline, so unpaired', test.note)
    rows.append({**as_row(test, variant, baseline), 'note': note})
  correct(rows)
  return rows


def correct(rows: Sequence[dict]) -> None:
  """Fills `p_holm` of rows that are one family, and notes where so many tests of so few lanes cannot reach ALPHA."""
  tested = [row for row in rows if row['p_value'] is not None]
  # Holm's correction grows with each of its p-values, so the smallest of all give the smallest corrected ones.
  for row, p_holm, least in zip(
    tested, holm([row['p_value'] for row in tested]), holm([row['smallest_p'] for row in tested])
  ):
    row['p_holm'] = p_holm
    if least is not None and least > ALPHA:
      left = row['n'] - row['zero_differences']
      lanes = f'n = {row["n"]}' + (
        f' with {left} differences other than zero' if left < row['n'] else ''
      )
      row['note'] = join(
        row['note'], unreachable(f'with Holm over {len(tested)} tests {lanes}', least)
      )


def as_row(test: Test, variant: str, against: str) -> dict:
  """A test as a row of results.json's "tests"; `p_holm` is None until the family is known."""
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
