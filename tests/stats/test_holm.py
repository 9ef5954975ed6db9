"""Holm's correction by hand, and the table of a study's tests."""

import json

import numpy as np
import pytest

from m3net_jax.stats import holm


def test_holm_by_hand_and_with_missing_p_values():
  # 0.01 * 4, 0.02 * 3, 0.03 * 2 = 0.06, and 0.04 * 1 is raised to 0.06.
  assert holm.holm([0.04, None, 0.01, 0.03, 0.02]) == pytest.approx([0.06, None, 0.04, 0.06, 0.06])
  assert holm.holm([0.6, 0.7]) == [1.0, 1.0]
  assert holm.holm([None, None]) == [None, None] and holm.holm([]) == []


def test_table_pairs_by_key_corrects_the_family_and_is_json():
  rng = np.random.default_rng(5)
  keys = [(seed, seed) for seed in range(14)]
  full = dict(zip(keys, rng.normal(0.97, 0.004, 14)))
  variants = {
    # Every pair falls by less than lanes differ; the keys are in another order than the baseline's.
    'no_ma': {keys[i]: full[keys[i]] - 0.002 - 0.0001 * i for i in rng.permutation(14)},
    'full': full,
    'no_dfp': {key: full[key] + rng.normal(0.0, 0.002) for key in keys},
    'part': {key: full[key] - 0.01 - 0.0001 * key[0] for key in keys[:4]},
    'apart': {(seed, 'other'): rng.normal(0.96, 0.004) for seed in range(9)},
  }
  rows = holm.tests_table(variants)
  assert [row['variant'] for row in rows] == ['no_ma', 'no_dfp', 'part', 'apart']
  assert all(row['against'] == 'full' for row in rows)
  ma, dfp, part, apart = rows
  assert ma['p_value'] == pytest.approx(2 / 2**14) and ma['effect_size'] == -1
  assert ma['hodges_lehmann'] == pytest.approx(-0.00265)
  assert part['p_value'] is None and part['p_holm'] is None
  assert part['note'].startswith('10 lanes without a partner left out; n = 4 cannot reach 0.05')
  assert 'rank-sum' in apart['name'] and 'unpaired' in apart['note'] and apart['n'] == 23
  p_values = [row['p_value'] for row in (ma, dfp, apart)]
  assert [row['p_holm'] for row in (ma, dfp, apart)] == pytest.approx(holm.holm(p_values))
  assert json.loads(json.dumps(rows, allow_nan=False)) == rows
  assert {
    'name',
    'variant',
    'against',
    'method',
    'n',
    'statistic',
    'p_value',
    'p_holm',
    'effect_size',
    'hodges_lehmann',
    'hodges_lehmann_ci95',
    'zero_differences',
    'ties',
    'note',
  } <= set(ma)


def test_a_family_too_large_for_its_lanes_is_noted():
  """Holm over two tests: six pairs reach 4 / 2 ** 6 = 0.0625 at best, 14 pairs 4 / 2 ** 14."""
  lanes = lambda shift, n: {seed: 0.9 + shift * (1 + 0.01 * seed) for seed in range(n)}
  few = holm.tests_table({'full': lanes(0, 6), 'a': lanes(-0.1, 6), 'b': lanes(0.1, 6)})
  assert [row['p_holm'] for row in few] == [4 / 2**6] * 2
  assert [row['note'] for row in few] == [
    'with Holm over 2 tests n = 6 cannot reach 0.05 (smallest possible p = 0.0625)'
  ] * 2
  # Only tests with a p-value are in the family; five pairs cannot have one.
  assert (
    holm.tests_table({'full': lanes(0, 6), 'a': lanes(-0.1, 6), 'b': lanes(0.1, 5)})[0]['note']
    == ''
  )
  # With a test of 14 pairs, which has the smaller p, the six pairs need no correction.
  mixed = holm.tests_table({'full': lanes(0, 14), 'a': lanes(-0.1, 6), 'b': lanes(0.1, 14)})
  assert 'Holm' not in mixed[0]['note'] and [row['p_holm'] for row in mixed] == [
    2 / 2**6,
    4 / 2**14,
  ]


def test_table_needs_its_baseline():
  with pytest.raises(ValueError, match="'full' is not among the variants no_ma"):
    holm.tests_table({'no_ma': {0: 0.9}})


def test_the_note_of_a_family_counts_the_nonzero_differences():
  base = {(seed, 'random'): 0.5 for seed in range(8)}
  better = {key: value + 0.01 * (key[0] + 1) for key, value in base.items()}
  # Seven differences are left: 4 x 2 / 2**7 is above 0.05, 4 x 2 / 2**8 is not.
  tied = better | {(7, 'random'): 0.5}
  rows = holm.tests_table(
    {'full': base, 'a': tied, 'b': tied, 'c': tied, 'd': tied}, baseline='full'
  )
  for row in rows:
    assert (
      'with Holm over 4 tests n = 8 with 7 differences other than zero cannot reach 0.05'
      in row['note']
    )
  untied = holm.tests_table({'full': base, **dict.fromkeys('abcd', better)}, baseline='full')
  assert not any('cannot reach' in row['note'] for row in untied)
