"""Power against printed tables and against many runs of the test; seeds needed against power."""

import numpy as np
import pytest

from m3net_jax.stats import power, resampled
from m3net_jax.stats.power import critical_value, plan_table, power_at, seeds_needed, spread
from m3net_jax.stats.wilcoxon import paired


def test_critical_values_are_those_of_the_printed_tables():
  # Two-sided 0.05, as in R. L. McCornack, Extended tables of the Wilcoxon matched pair signed rank
  # statistic, JASA 60, 1965.
  printed = {
    5: None,
    6: 0,
    7: 2,
    8: 3,
    9: 5,
    10: 8,
    11: 10,
    12: 13,
    13: 17,
    14: 21,
    15: 25,
    20: 52,
    25: 89,
  }
  assert {n: critical_value(n) for n in printed} == printed


@pytest.mark.parametrize('difference', [0.005, 0.01])
def test_power_at_14_seeds_is_how_often_the_test_finds_it(difference):
  rng = np.random.default_rng(2)
  studies, std = 1500, 0.012
  differences = rng.normal(difference, std, size=(studies, 14))
  rate = np.mean([paired(0.9 + row, np.full(14, 0.9)).p_value <= 0.05 for row in differences])
  error = np.sqrt(rate * (1 - rate) / studies)
  assert power_at(14, difference, std) == pytest.approx(rate, abs=3.5 * error)


def test_power_for_a_negligible_difference_is_the_level():
  assert power_at(14, 1e-12, 0.01) == pytest.approx(0.0494, abs=0.006)


def test_power_is_the_same_every_time_and_grows_with_seeds():
  assert power_at(14, 0.01, 0.01) == power_at(14, 0.01, 0.01)
  assert power_at(14, -0.01, 0.01) == power_at(14, 0.01, 0.01)
  values = [power_at(n, 0.01, 0.012) for n in (5, 6, 10, 14, 20, 40, 80)]
  assert values[0] == 0 and values == sorted(values)


@pytest.mark.parametrize('n, shift', [(61, 0.3), (61, 0.5), (150, 0.2)])
def test_the_approximation_beyond_60_pairs_agrees_with_simulation(n, shift, monkeypatch):
  approximate = power_at(n, shift, 1.0)
  monkeypatch.setattr(power, '_MOST_SIMULATED', 1000)
  assert approximate == pytest.approx(power_at(n, shift, 1.0), abs=0.015)


def test_seeds_needed_are_the_fewest_that_are_enough():
  needed = seeds_needed(0.01, 0.015)
  assert power_at(needed, 0.01, 0.015) >= 0.8 > power_at(needed - 1, 0.01, 0.015)
  assert seeds_needed(0.01, 0.015, power=0.95) > needed
  assert seeds_needed(0.01, 0.0) == 6  # fewer cannot reach 0.05
  assert seeds_needed(0.0005, 5.0) is None


def test_plan_is_for_half_one_and_two_points_at_14():
  rows = plan_table(0.012)
  assert [(row.difference, row.num_seeds) for row in rows] == [(0.005, 14), (0.01, 14), (0.02, 14)]
  assert rows[0].power < rows[1].power < rows[2].power
  assert rows[0].seeds_needed > rows[1].seeds_needed > rows[2].seeds_needed
  assert rows[1].power == power_at(14, 0.01, 0.012)


def test_spread_pools_the_paired_differences():
  on_one_split = lambda lanes: {(seed, ''): value for seed, value in lanes.items()}
  full = on_one_split({0: 0.95, 1: 0.96, 2: 0.97})
  variants = {
    'full': full,
    'a': on_one_split({0: 0.94, 1: 0.94, 2: 0.94}),
    'b': on_one_split({1: 0.96, 2: 0.99, 7: 0.1}),
  }
  # Differences -0.01, -0.02, -0.03 and 0, 0.02: squares 2e-4 and 2e-4, 2 + 1 degrees of freedom.
  pooled = spread(variants)
  assert pooled.std == pytest.approx(np.sqrt(4e-4 / 3))
  assert pooled.source == 'paired differences from full'


def test_spread_of_a_single_variant_takes_lanes_as_unrelated():
  single = spread({'full': {(0, ''): 0.95, (1, ''): 0.96, (2, ''): 0.97}})
  assert single.std == pytest.approx(np.sqrt(2) * 0.01) and 'unrelated' in single.source
  assert spread({'full': {(0, ''): 0.95}}) is None and spread({}) is None


def test_power_of_one_of_several_tests_is_at_a_smaller_level():
  # Two-sided 0.01, from the same tables.
  assert [critical_value(n, 0.01) for n in (7, 8, 14)] == [None, 0, 12]
  rng = np.random.default_rng(4)
  differences = rng.normal(0.01, 0.012, size=(1500, 14))
  rate = np.mean([paired(0.9 + row, np.full(14, 0.9)).p_value <= 0.05 / 8 for row in differences])
  assert power_at(14, 0.01, 0.012, 0.05 / 8) == pytest.approx(
    rate, abs=3.5 * np.sqrt(rate * (1 - rate) / 1500)
  )
  assert seeds_needed(0.01, 0.015, alpha=0.05 / 8) > seeds_needed(0.01, 0.015)
  assert (
    seeds_needed(0.01, 0.0, alpha=0.05 / 8) == 9
  )  # 2 / 2 ** 9 is the first that is small enough
  # The same with more than 60 pairs.
  assert power_at(61, 0.3, 1.0, 0.05 / 8) < power_at(61, 0.3, 1.0)


@pytest.mark.parametrize(
  'arguments', [(0, 0.01, 0.01), (14, 0.0, 0.01), (14, 0.01, -1.0), (14, 0.01, np.nan)]
)
def test_impossible_arguments_are_refused(arguments):
  with pytest.raises(ValueError, match='power needs'):
    power_at(*arguments)


def test_power_over_splits_is_how_often_the_corrected_test_finds_it():
  """Splits that share clips are correlated by test / (train + test), here 0.25."""
  rng = np.random.default_rng(2)
  studies, n, difference, ratio = 2000, 14, 0.02, 1 / 3
  common = rng.normal(0, np.sqrt(0.25), (studies, 1))
  differences = difference + 0.012 * (common + rng.normal(0, np.sqrt(0.75), (studies, n)))
  rate = np.mean(
    [resampled.paired(0.5 + row, np.full(n, 0.5), ratio).p_value <= 0.05 for row in differences]
  )
  within = 0.012 * np.sqrt(0.75)  # what a study sees
  assert power_at(n, difference, within, ratio=ratio) == pytest.approx(rate, abs=0.04)
  assert power_at(1, difference, within, ratio=ratio) == 0
  assert power_at(5, difference, 0.0, ratio=ratio) == 1
  needed = seeds_needed(0.03, within, ratio=ratio)
  assert power_at(needed, 0.03, within, ratio=ratio) >= 0.8
  assert 0.8 > power_at(needed - 1, 0.03, within, ratio=ratio)
  # The clips are the same in every split: below some difference no number of splits is enough.
  assert seeds_needed(0.005, within, ratio=ratio) is None


def test_spread_over_splits_is_that_of_the_means_of_their_seeds():
  full = {(seed, fold): 0.9 for seed in range(2) for fold in range(3)}
  other = {(seed, fold): 0.9 + 0.01 * fold + 0.02 * seed for seed, fold in full}
  assert spread({'full': full, 'a': other}, ratio=0.25).std == pytest.approx(0.01)
