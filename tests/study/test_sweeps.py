"""Sweeps: lanes of a setting are those of a study of it alone; the chosen ones are tested."""

import dataclasses

import numpy as np
import pytest

from data_prep.errors import UserError
from m3net_jax import api
from m3net_jax.study import runner, sweeps
from m3net_jax.study.cohorts import LaneName
from m3net_jax.study.config import Config
from tests import small_study

CONFIG = dataclasses.replace(
  small_study.CONFIG,
  variants=('full', 'plain'),
  num_epochs=3,
  split='folds',
  schedule='cosine',
  noise=0.5,
  shift_late_ms=30.0,
  spec_augment=0.5,
  mixup=0.2,
  ema=0.5,
  sweep=('learning_rate=0.02,1e-6', 'gain_low_db=-20,0'),
)
PLACES = 2 * 2 * 3  # variants, seeds, folds


@pytest.fixture(scope='module')
def store(tones):
  return tones._replace(folds=np.array(([1] * 6 + [2] * 6 + [3] * 8) * 3, np.int32))


@pytest.fixture(scope='module')
def swept(store, tmp_path_factory):
  """The study and the number of test clips that each lane read, in the order of its lanes."""
  counts = []
  with pytest.MonkeyPatch.context() as patch:
    scores = runner.Runner.scores

    def counted(self, state, variables, side, only=None):
      batches = runner.in_batches

      def counting(indices, batch_size):
        if side == 'test':
          counts.extend(map(len, indices[: len(self.cohort.names)]))
        return batches(indices, batch_size)

      with pytest.MonkeyPatch.context() as inner:
        inner.setattr(runner, 'in_batches', counting)
        return scores(self, state, variables, side, only)

    patch.setattr(runner.Runner, 'scores', counted)
    study = api.train(store, workdir=tmp_path_factory.mktemp('sweep') / 'study', config=CONFIG)
  return study, counts


def test_a_setting_is_chosen_by_validation_for_each_variant_and_split():
  names = [
    LaneName(variant, seed, split, setting)
    for variant in ('full', 'plain')
    for split in (0, 1)
    for setting in (0, 1, 2)
    for seed in (0, 1)
  ]
  best = {('full', 0): 1, ('full', 1): 2, ('plain', 0): 0, ('plain', 1): 1}
  # In plain, split 0, all are equal; a single good lane does not make its setting the best.
  values = [
    0.5
    if (name.variant, name.split) == ('plain', 0)
    else 0.8
    if best[name.variant, name.split] == name.setting
    else 0.9 * (name.seed == 0)
    for name in names
  ]
  chosen = sweeps.chosen(names, values)
  assert chosen == [best[name.variant, name.split] == name.setting for name in names]
  with_diverged = [-np.inf if name.setting == 1 and name.seed == 1 else 0.5 for name in names]
  assert not any(
    chosen for chosen, name in zip(sweeps.chosen(names, with_diverged), names) if name.setting == 1
  )


def test_a_setting_with_a_diverged_lane_is_below_all_others():
  config = Config(num_seeds=2, sweep=('mixup=0,1',))
  row = lambda setting, accuracy, epoch: {
    'variant': 'full',
    'split': 'random',
    'setting': setting,
    'validation_accuracy': accuracy,
    'best_epoch': epoch,
  }
  rows = [row(0, 0.99, 3), row(0, 0.0, 0), row(1, 0.4, 2), row(1, 0.4, 2)]
  content = sweeps.section(config, rows, rows[2:])
  assert content['variants']['full'] == [[0.99, None], [0.4, 0.4]]
  assert sweeps.ranked(content, 'full') == [1, 0] and content['chosen']['full'] == {'random': 1}


def test_only_lanes_of_the_chosen_settings_read_the_test(swept, store):
  study, counts = swept
  content = study.results()
  assert len(counts) == 4 * PLACES and sum(count > 0 for count in counts) == PLACES
  for variant in CONFIG.variants:
    rows = content['variants'][variant]['lanes']
    assert len(rows) == 6
    chosen = content['sweep']['chosen'][variant]
    assert {row['split']: row['setting'] for row in rows} == chosen
    assert list(chosen) == ['fold 1', 'fold 2', 'fold 3']
    # The low rate learns nothing in four epochs.
    assert set(chosen.values()) <= {0, 1}
  assert content['sweep']['settings'] == [
    {'learning_rate': rate, 'gain_low_db': gain} for rate in (0.02, 1e-6) for gain in (-20.0, 0.0)
  ]
  assert all(len(lanes) == 6 for lanes in content['sweep']['variants']['full'])


def test_a_lane_of_a_sweep_is_that_lane_alone_bit_for_bit(swept, store, tmp_path):
  """Setting 0 of both variants, with all augmentation, trained as a study of its own."""
  study, _ = swept
  alone = dataclasses.replace(CONFIG, sweep=(), learning_rate=0.02, gain_low_db=-20.0)
  other = api.train(store, workdir=tmp_path / 'alone', config=alone)
  strip = lambda row: {k: v for k, v in row.items() if k not in ('seconds', 'setting')}
  rows = [strip(row) for row in study.metrics() if row['setting'] == 0]
  expected = [strip(row) for row in other.metrics()]
  key = lambda row: (row['variant'], row['split'], row['seed'], row['epoch'])
  assert sorted(rows, key=key) == sorted(expected, key=key)
  # One compilation trains the grid.
  assert study.results()['compilations'] == other.results()['compilations'] == 4


def test_a_number_that_a_lane_has_at_zero_is_nearly_the_study_without_it(swept, store, tmp_path):
  """Setting 1 has no gain, but its program has: equal up to rounding."""
  study, _ = swept
  without = dataclasses.replace(CONFIG, sweep=(), learning_rate=0.02)
  other = api.train(store, workdir=tmp_path / 'without', config=without)
  losses = lambda rows: [
    row['train_loss']
    for row in sorted(
      rows, key=lambda row: (row['variant'], row['split'], row['seed'], row['epoch'])
    )
  ]
  swept_losses = losses([row for row in study.metrics() if row['setting'] == 1])
  np.testing.assert_allclose(swept_losses, losses(other.metrics()), rtol=2e-3)


def test_reports_show_the_grid_and_the_chosen_lanes(swept):
  study, _ = swept
  assert (study.path / 'figures' / 'sweep.png').stat().st_size > 5000
  page = (study.path / 'report.html').read_text()
  assert 'Settings of the sweep' in page and '<section id="sweep">' in page
  table = (study.path / 'tables' / 'sweep.csv').read_text().splitlines()
  assert len(table) == 1 + 2 * 4 or len(table) == 2 + 2 * 4
  assert '--sweep=learning_rate=0.02,1e-6' in (study.path / 'report.md').read_text()
  lines = study.summary().splitlines()
  assert max(map(len, lines)) <= 79
  assert sum(line.startswith('*') for line in lines) >= 2
  # The best lane is one of those that were tested.
  lane = study.best_lane()
  assert lane.row['setting'] == lane.name.setting and lane.row['test_accuracy'] > 0


def test_a_sweep_takes_no_more_seeds(swept, store):
  study, _ = swept
  more = dataclasses.replace(CONFIG, num_seeds=3)
  with pytest.raises(UserError, match='the sweep in --workdir=.* was chosen with 2 seeds'):
    api.train(store, workdir=study.path, config=more)
  assert api.create(store, study.path, CONFIG).finished
