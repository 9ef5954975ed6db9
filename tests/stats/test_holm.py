"""Holm's correction by hand, and the table of a study's tests."""

import json

import numpy as np
import pytest
from scipy import stats

from m3net_jax.stats import holm, intervals


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
  assert ma['difference'] == pytest.approx(-0.00265)
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
    'difference',
    'difference_ci95',
    'improvement',
    'equivalence_p_holm',
    'zero_differences',
    'ties',
    'note',
  } <= set(ma)


def test_a_family_too_large_for_its_lanes_is_noted():
  """Holm over two tests: six pairs reach 4 / 2 ** 6 = 0.0625 at best, 14 pairs 4 / 2 ** 14."""
  lanes = lambda shift, n: {(seed, ''): 0.9 + shift * (1 + 0.01 * seed) for seed in range(n)}
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


def study(difference, seeds=3, folds=5, spread=0.01):
  """Two variants by folds: the second differs by `difference` and by an effect of each fold."""
  rng = np.random.default_rng(8)
  full = {(seed, fold): rng.normal(0.8, spread) for fold in range(folds) for seed in range(seeds)}
  effect = rng.normal(difference, spread, folds)
  other = {key: value + effect[key[1]] + rng.normal(0, spread) for key, value in full.items()}
  return {'full': full, 'other': other}


def test_seeds_of_a_fold_are_averaged_and_folds_are_the_observations():
  variants = study(0.05)
  (row,) = holm.tests_table(variants, ratio=1 / 3)
  means = [
    np.mean([variants['other'][s, fold] - variants['full'][s, fold] for s in range(3)])
    for fold in range(5)
  ]
  error = np.std(means, ddof=1) * np.sqrt(1 / 5 + 1 / 3)
  half = stats.t.ppf(0.975, 4) * error
  assert row['n'] == 5 and row['difference'] == pytest.approx(np.mean(means))
  assert row['difference_ci95'] == pytest.approx([np.mean(means) - half, np.mean(means) + half])
  assert row['p_value'] == pytest.approx(2 * stats.t.sf(np.mean(means) / error, 4))
  ends = np.mean(means) + np.array([-1, 1]) * stats.t.ppf(0.95, 4) * error
  assert row['equivalent_within'] == pytest.approx(max(abs(ends)))
  nearest = 0.01 - abs(np.mean(means))
  assert row['equivalence_p'] == pytest.approx(stats.t.sf(nearest / error, 4))
  assert row['signed_rank_p'] is None
  assert 'by the signed-rank test n = 5 splits cannot reach 0.05' in row['note']
  # More seeds do not make more observations.
  assert holm.tests_table(study(0.05, seeds=14), ratio=1 / 3)[0]['n'] == 5
  (ten,) = holm.tests_table(study(0.05, folds=10), ratio=1 / 8)
  assert ten['signed_rank_p'] == pytest.approx(2 / 2**10)


def test_a_margin_is_needed_for_as_good_as():
  rng = np.random.default_rng(3)
  full = {(seed, ''): rng.normal(0.9, 0.002) for seed in range(14)}
  near = {key: value + rng.normal(0, 0.002) for key, value in full.items()}
  rows = {
    margin: holm.tests_table({'full': full, 'a': near, 'b': near}, margin=margin)[0]
    for margin in (0.0001, 0.01)
  }
  assert rows[0.0001]['p_holm'] > 0.05 and rows[0.01]['p_holm'] > 0.05
  assert rows[0.0001]['equivalence_p_holm'] > 0.05 > rows[0.01]['equivalence_p_holm']
  # Two tests of equivalence: Holm doubles the smaller.
  assert rows[0.01]['equivalence_p_holm'] == pytest.approx(2 * rows[0.01]['equivalence_p'])
  within = rows[0.01]['equivalent_within']
  above, below = (
    holm.tests_table({'full': full, 'a': near}, margin=within + shift)[0]['equivalence_p']
    for shift in (1e-6, -1e-6)
  )
  assert above <= 0.05 < below


def test_the_probability_of_improvement_counts_pairs():
  base = {(seed, ''): 0.5 for seed in range(8)}
  other = {key: 0.5 + 0.01 * (key[0] - 2) for key in base}  # 2 lower, 1 equal, 5 higher
  (row,) = holm.tests_table({'full': base, 'a': other})
  assert row['improvement'] == 5.5 / 8
  low, high = row['improvement_ci95']
  assert low < 5.5 / 8 < high
  expected = intervals.wilson(5.5, 8)
  assert (low, high) == pytest.approx(expected)


def test_equal_differences_of_splits_have_no_test():
  full = {(seed, f'random {seed}'): 0.8 for seed in range(5)}
  (row,) = holm.tests_table({'full': full, 'a': {key: 0.81 for key in full}}, ratio=1 / 3)
  for field in ('p_value', 'p_holm', 'difference_ci95', 'equivalence_p', 'equivalent_within'):
    assert row[field] is None
  assert row['difference'] == pytest.approx(0.01)
  assert '5 equal differences have no variance to test with' in row['note']
