"""The plan of a study: FLOPs against arithmetic by hand, a lower limit of memory, and power."""

import dataclasses

import numpy as np

from m3net_jax.network import cost
from m3net_jax.network.variants import VARIANTS
from m3net_jax.reporting import plan_text
from m3net_jax.stats import power
from m3net_jax.study import cohorts, plan, results, splits
from tests import small_study

# Five splits with 30 clips to train on and 10 to test on.
SPLITS = [
  splits.Split(f'fold {i}', np.arange(30), np.arange(30, 40), np.arange(40, 50)) for i in range(5)
]


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
  lines = plan_text.text(config, 3, SPLITS[:1], measured, None).splitlines()
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
  content = {'variants': {'full': {'lanes': lanes(0)}, 'plain': {'lanes': lanes(1)}}}
  text = plan_text.text(small_study.CONFIG, 3, SPLITS[:1], [], content)
  assert 'paired differences from full' in text and text.splitlines()[-1].startswith('2  ')
  assert 'Holm' not in text  # one variant: no family of tests


def study_of(names, seeds, split_of):
  rng = np.random.default_rng(0)
  lanes = lambda: [
    {'seed': seed, 'split': split, 'test_accuracy': rng.normal(0.9, 0.01)}
    for seed in range(seeds)
    for split in split_of(seed)
  ]
  return {'variants': {name: {'lanes': lanes()} for name in names}}


def std_of(content, ratio):
  lanes = {name: results.accuracies(variant) for name, variant in content['variants'].items()}
  return power.spread(lanes, ratio=ratio).std


def test_power_counts_folds_not_seeds_and_a_family_of_tests():
  content = study_of(('full', 'plain'), 3, lambda seed: [f'fold {fold}' for fold in range(5)])
  config = dataclasses.replace(
    small_study.CONFIG, variants=('full', 'plain', 'eca', 'no_ma'), num_seeds=3, split='folds'
  )
  lines = plan_text.text(config, 3, SPLITS, [], content).splitlines()
  assert max(map(len, lines)) <= 79
  text = ' '.join(lines)
  assert 'corrected t-test over 5 folds' in text and 'n = 5 cannot reach 0.05' in text
  assert any('first of 3 with Holm' in line for line in lines)
  std = std_of(content, 1 / 3)
  row = next(line for line in lines if line.startswith('2  ')).split()
  assert row == ['2'] + [
    f'{power.power_at(5, 0.02, std, alpha, 1 / 3):.0%}' for alpha in (0.05, 0.05 / 3)
  ]
  more = dataclasses.replace(config, num_seeds=14)
  assert row == next(
    line.split()
    for line in plan_text.text(more, 3, SPLITS, [], content).splitlines()
    if line.startswith('2  ')
  )


def test_power_counts_the_splits_that_seeds_draw():
  content = study_of(('full', 'plain'), 5, lambda seed: [f'random {seed}'])
  config = dataclasses.replace(small_study.CONFIG, num_seeds=5, split_seeds=True)
  lines = plan_text.text(config, 3, SPLITS, [], content).splitlines()
  std = std_of(content, 1 / 3)
  assert 'corrected t-test over 5 splits' in ' '.join(lines)
  needed = power.seeds_needed(0.02, std, ratio=1 / 3)
  assert lines[-1].split()[1:] == [
    f'{power.power_at(5, 0.02, std, ratio=1 / 3):.0%}',
    *('over 10,000' if needed is None else f'{needed:,}').split(),
  ]


def test_columns_of_a_plan_stay_apart():
  """A large program: 70 lanes of 71 GiB for a thousand hours."""
  cohort = cohorts.make(dataclasses.replace(small_study.CONFIG, num_seeds=70), [range(70)], 1)[0]
  measured = plan.Measured(cohort, 70, 8, 71 * 2**30, 123.456, 3.6e6)
  row = plan_text.text(small_study.CONFIG, 3, SPLITS[:1], [measured], None).splitlines()[1]
  assert len(row) <= 79 and row.split()[1:8] == ['70', '8', 'x', '70', '581,632', 'MiB', '0.8']
  assert row.split()[8:] == ['123.456', '1000:00:00']
