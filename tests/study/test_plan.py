"""The plan of a study: FLOPs against arithmetic by hand, a lower limit of memory, and power."""

import dataclasses

import numpy as np

from m3net_jax.network import cost
from m3net_jax.network.variants import VARIANTS
from m3net_jax.reporting import plan_text
from m3net_jax.stats import power
from m3net_jax.study import cohorts, plan, splits
from tests import small_study


def test_a_step_is_three_passes_of_two_operations_per_multiply_add():
  # Input 16x16x1, no_ma: stem 8x8 x 9x32; sfp1 4x4 x (9+64)x32; sfp2 2x2 x (9+64)x64; head 64x3.
  macs = 64 * 9 * 32 + 16 * 73 * 32 + 4 * 73 * 64 + 64 * 3
  assert cost.step_flops(VARIANTS['no_ma'], 3, (16, 16, 1), 12) == 6 * macs * 12


def test_a_plan_measures_every_cohort_and_keeps_nothing(tones):
  config = dataclasses.replace(small_study.CONFIG, variants=('no_mfp', 'no_ma'), num_seeds=3)
  measured = plan.measure(config, [config.seeds], tones, splits.make(tones, 'random'))
  assert [len(row.cohort.names) for row in measured] == [3, 3]
  for row in measured:
    # Parameters and two moments.
    lane_bytes = 4 * 3 * cost.size(row.cohort.program, 3, config.input_shape).trainable
    assert row.device_bytes > len(row.cohort.names) // row.devices * lane_bytes
    assert 0 < row.step_seconds * config.num_epochs < row.seconds
  lines = plan_text.text(config, 3, 1, measured, None).splitlines()
  assert (
    max(map(len, lines)) <= 79 and lines[1].startswith('no_mfp  ') and lines[2].startswith('no_ma')
  )
  assert lines[3].split()[:2] == ['all', '6'] and len(lines[3]) == len(lines[1])
  assert 'unknown' in lines[-2]


def test_power_is_that_of_the_finished_study():
  lanes = lambda seed: [
    {'seed': i, 'split': 'random', 'test_accuracy': value}
    for i, value in enumerate(np.random.default_rng(seed).normal(0.9, 0.01, 14))
  ]
  results = {'variants': {'full': {'lanes': lanes(0)}, 'plain': {'lanes': lanes(1)}}}
  text = plan_text.text(small_study.CONFIG, 3, 1, [], results)
  assert 'paired differences from full' in text and text.splitlines()[-1].startswith('2  ')
  assert 'Holm' not in text  # one variant: no family of tests


def test_power_counts_folds_as_pairs_and_a_family_of_tests():
  rng = np.random.default_rng(0)
  lanes = lambda: [
    {'seed': seed, 'split': f'fold {fold}', 'test_accuracy': rng.normal(0.9, 0.01)}
    for fold in range(5)
    for seed in range(3)
  ]
  results = {'variants': {'full': {'lanes': lanes()}, 'plain': {'lanes': lanes()}}}
  config = dataclasses.replace(
    small_study.CONFIG, variants=('full', 'plain', 'eca', 'no_ma'), num_seeds=3
  )
  lines = plan_text.text(config, 3, 5, [], results).splitlines()
  assert max(map(len, lines)) <= 79 and any('3 seeds x 5 folds' in line for line in lines)
  assert 'first of 3 with Holm' in lines[-5]
  std = power.spread(
    {
      name: {(lane['seed'], lane['split']): lane['test_accuracy'] for lane in variant['lanes']}
      for name, variant in results['variants'].items()
    }
  ).std
  last = lines[-1].split()
  needed = [power.seeds_needed(0.02, std, alpha=alpha) for alpha in (0.05, 0.05 / 3)]
  assert last == [
    '2',
    f'{power.power_at(15, 0.02, std):.0%}',
    f'{-(-needed[0] // 5)}',
    f'{power.power_at(15, 0.02, std, 0.05 / 3):.0%}',
    f'{-(-needed[1] // 5)}',
  ]


def test_columns_of_a_plan_stay_apart():
  """A large program: 70 lanes of 71 GiB for a thousand hours."""
  cohort = cohorts.make(dataclasses.replace(small_study.CONFIG, num_seeds=70), [range(70)], 1)[0]
  measured = plan.Measured(cohort, 70, 8, 71 * 2**30, 123.456, 3.6e6)
  row = plan_text.text(small_study.CONFIG, 3, 1, [measured], None).splitlines()[1]
  assert len(row) <= 79 and row.split()[1:8] == ['70', '8', 'x', '70', '581,632', 'MiB', '0.8']
  assert row.split()[8:] == ['123.456', '1000:00:00']
