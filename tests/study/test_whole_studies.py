"""Whole small studies against a plain loop: every lane, every epoch, its best epoch and its test.

Epochs of several calls, folds of unequal size, splits of every seed, streamed clips, several lanes
at once, the other lowering, class weights; stopped and continued.
"""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from m3net_jax.study import lanes, trainer
from m3net_jax.study.progress import Progress
from tests.example_store import part_of
from tests.study.whole import CONFIG, assert_same, compare, run, stopped_run, store_of, stream


@pytest.fixture(autouse=True)
def several_calls(monkeypatch):
  monkeypatch.setattr(lanes, 'STEPS_PER_CALL', 4)


@pytest.fixture(scope='module')
def store(tones):
  return store_of(tones)


@pytest.fixture(scope='module')
def whole(store, tmp_path_factory):
  """A study of six lanes, resident on the device: rows, metrics and predictions."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(lanes, 'STEPS_PER_CALL', 4)
    return run(store, tmp_path_factory.mktemp('whole') / 'study', CONFIG)


def test_a_study_of_several_calls_an_epoch_is_the_plain_loop(store, tmp_path):
  rows, loops = compare(store, tmp_path / 'study', CONFIG, 9)
  assert len(rows) == 6
  # What would hide a fault: a rate that never falls, or a best epoch that is the last one.
  for loop in loops.values():
    assert loop.learning_rate[-1] < loop.learning_rate[0]
    assert loop.best_epoch < CONFIG.num_epochs
  assert any(
    not np.array_equal(loop.predicted, loop.predicted_at_the_end) for loop in loops.values()
  )


def test_folds_of_unequal_size_have_the_steps_of_the_largest(store, tmp_path):
  """Fold 3 has 30 clips; the lanes of folds 2 and 3 train on 12 and 18. One lane is fill."""
  config = dataclasses.replace(CONFIG, variants=('plain',), num_seeds=1, split='folds')
  rows, loops = compare(store, tmp_path / 'study', config, 8)
  assert [row['split'] for row in rows.values()] == ['fold 1', 'fold 2', 'fold 3']
  assert len({loop.train_loss[0] for loop in loops.values()}) == 3


@pytest.mark.parametrize('scheme', ['random', 'grouped'])
def test_every_seed_has_its_own_split(store, tmp_path, scheme):
  groups = np.array([f'speaker {i % 10}' for i in range(60)])
  config = dataclasses.replace(
    CONFIG, variants=('plain',), split=scheme, split_seeds=True, num_epochs=4
  )
  rows, _ = compare(store._replace(groups=groups), tmp_path / 'study', config, 9)
  assert [(row['seed'], row['split']) for row in rows.values()] == [
    (seed, f'{scheme} {seed}') for seed in range(3)
  ]


@pytest.mark.parametrize(
  'settings',
  [{'lowering': 'conv', 'lanes_at_once': 3}, {'lanes_at_once': 2, 'class_weights': 'balanced'}],
  ids=str,
)
def test_other_ways_to_compute_are_the_plain_loop_too(store, tmp_path, settings):
  # 20, 13 and 9 clips of a class: 12, 8 and 5 to train on, which are other shares.
  unequal = np.r_[:20, 20:33, 40:49]
  config = dataclasses.replace(CONFIG, num_epochs=6, **settings)
  compare(part_of(store, unequal), tmp_path / 'study', config, 7)


def test_lanes_that_diverge_are_marked_and_tested_at_their_best(store, tmp_path):
  """The rate is far too large: losses overflow in the first epochs."""
  config = dataclasses.replace(CONFIG, variants=('plain',), learning_rate=1e25, num_epochs=3)
  rows, metrics, predictions, _ = run(store, tmp_path / 'study', config)
  assert {row['status'] for row in rows.values()} == {'diverged'}
  assert metrics[-1]['status'] == 'diverged' and metrics[-1]['validation_loss'] is None
  for row in rows.values():
    epochs = [entry for entry in metrics if entry['seed'] == row['seed']]
    running = [entry['status'] == 'running' for entry in epochs]
    assert row['best_epoch'] <= sum(running) < config.num_epochs
    best = [entry['validation_accuracy'] for entry in epochs if entry['status'] == 'running']
    assert row['validation_accuracy'] == max(best, default=0.0)
    if row['best_epoch'] == 0:
      assert row['validation_balanced_accuracy'] == 0.0 and row['validation_loss'] is None
  assert 0 in [row['best_epoch'] for row in rows.values()]
  assert all(len(predicted) == 12 for predicted in predictions.values())


def test_progress_counts_every_step_of_every_lane(store, tmp_path, monkeypatch):
  counted, labels, totals = [], [], []

  class Counted(Progress):
    def __init__(self, total):
      totals.append(total)
      super().__init__(total)

  monkeypatch.setattr(trainer, 'Progress', Counted)
  monkeypatch.setattr(trainer, 'time', SimpleNamespace(monotonic=lambda: 100.0))
  for name in ('advance', 'skip'):
    monkeypatch.setattr(Progress, name, lambda self, steps: counted.append(steps))
  monkeypatch.setattr(Progress, 'start', lambda self, label: labels.append(label))
  config = dataclasses.replace(CONFIG, num_epochs=2)
  _, metrics, _, _ = run(store, tmp_path / 'study', config)
  assert totals == [2 * 9 * 6] and {row['seconds'] for row in metrics} == {0.0}
  assert counted == [0] + 2 * [4 * 6, 4 * 6, 1 * 6]
  assert labels == ['epoch 1/2  6 lanes', 'epoch 2/2  6 lanes', 'testing  6 lanes']
  counted.clear()
  run(store, tmp_path / 'study', config)  # finished: nothing is left to train
  assert counted == [2 * 9 * 6]


def test_a_streamed_study_is_the_resident_one(store, whole, tmp_path, monkeypatch):
  """Blocks of one step: eight clips of 512 bytes for six lanes do not fit in less."""
  blocks = stream(monkeypatch, block_bytes=6 * 4 * 512)
  rows, metrics, predictions, _ = run(store, tmp_path / 'study', CONFIG)
  assert max(blocks) >= 9 * CONFIG.num_epochs
  assert_same((rows, metrics, predictions), whole)


@pytest.mark.parametrize('stop', [8, 10, 12])  # calls; an epoch has three
def test_a_study_stopped_within_an_epoch_continues_to_the_same_result(store, whole, tmp_path, stop):
  stopped_run(store, tmp_path / 'study', CONFIG, stop)
  assert_same(run(store, tmp_path / 'study', CONFIG), whole)
