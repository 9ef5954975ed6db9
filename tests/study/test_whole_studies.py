"""Whole small studies against a plain loop: every lane, every epoch, its best epoch and its test.

Epochs of several calls, folds of unequal size, splits of every seed, streamed clips, several lanes
at once, the other lowering, class weights; stopped and continued.
"""

import dataclasses
import signal
from types import SimpleNamespace

import numpy as np
import pytest

from m3net_jax.study import checkpoint, cohorts, lanes, metrics, trainer
from m3net_jax.study.progress import Progress
from tests import small_study
from tests.example_store import part_of
from tests.study.whole import (
  CONFIG,
  STEPS_PER_CALL,
  assert_same,
  compare,
  outcome,
  run,
  stopped_run,
  stream,
  train,
)

pytestmark = pytest.mark.usefixtures('several_calls', 'programs_once')


def test_a_study_of_several_calls_an_epoch_is_the_plain_loop(store, whole):
  path, ran = whole
  rows, loops = compare(store, path, CONFIG, 9, ran)
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
  config = dataclasses.replace(CONFIG, variants=('no_ma',), num_seeds=1, split='folds')
  rows, loops = compare(store, tmp_path / 'study', config, 8)
  assert [row['split'] for row in rows.values()] == ['fold 1', 'fold 2', 'fold 3']
  assert len({loop.train_loss[0] for loop in loops.values()}) == 3


@pytest.mark.parametrize('scheme', ['random', 'grouped'])
def test_every_seed_has_its_own_split(store, tmp_path, scheme):
  groups = np.array([f'speaker {i % 10}' for i in range(60)])
  config = dataclasses.replace(
    CONFIG, variants=('no_ma',), split=scheme, split_seeds=True, num_epochs=4
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
  config = dataclasses.replace(CONFIG, variants=('no_ma',), num_seeds=5, num_epochs=6, **settings)
  compare(part_of(store, unequal), tmp_path / 'study', config, 7)


def test_lanes_that_diverge_are_marked_and_tested_at_their_best(store, tmp_path):
  """The rate is far too large: losses overflow in the first epochs."""
  config = dataclasses.replace(CONFIG, variants=('no_ma',), learning_rate=1e25, num_epochs=3)
  rows, metrics, predictions, _ = run(store, tmp_path / 'study', config)
  assert {row['status'] for row in rows.values()} == {'diverged'}
  assert metrics[-1]['status'] == 'diverged' and metrics[-1]['train_loss'] is None
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


def test_a_poisoned_clip_makes_one_lane_sick_and_leaves_the_others_alone(store, tmp_path, capsys):
  """Each seed has its own split: seed 0 trains on the clip, seed 1 tests it."""
  config = dataclasses.replace(
    CONFIG, variants=('no_ma',), num_seeds=2, split_seeds=True, num_epochs=3
  )
  healthy = run(store, tmp_path / 'healthy', config)
  (first, second) = healthy[3]
  clip = next(clip for clip in first.train if clip in second.test)
  mels = np.array(store.mels)
  mels[clip, 3, 4] = np.nan
  sick = run(store._replace(mels=mels), tmp_path / 'sick', config)
  rows_of = lambda study, seed: [{**row, 'seconds': 0} for row in study[1] if row['seed'] == seed]
  assert rows_of(sick, 1) == rows_of(healthy, 1)
  key = next(key for key in sick[2] if key.endswith('/1'))
  others = second.test != clip
  np.testing.assert_array_equal(sick[2][key][others], healthy[2][key][others])
  for row in (*rows_of(sick, 0), next(row for row in sick[0].values() if row['seed'] == 0)):
    assert row['status'] == 'diverged'
    # The scaling of its training clips is not a number, so no step is a good one.
    assert (row['diverged_epoch'], row['diverged_step']) == (1, 1)
  assert all('diverged_epoch' not in row for row in rows_of(sick, 1))
  loss = rows_of(healthy, 1)[-1]['train_loss']
  lines = capsys.readouterr().err
  assert f'epoch 3/3  2 lanes, 1 diverged  loss {loss:.3f}  val ' in lines and 'nan' not in lines


def test_rates_far_too_large_beside_a_sane_one(store, tmp_path):
  """Lanes of 1e6 and 1e25 among others; the sane one is as alone."""
  config = dataclasses.replace(CONFIG, variants=('no_ma',), num_seeds=1, num_epochs=3)
  swept = dataclasses.replace(config, sweep=('learning_rate=0.002,1e6,1e25',))
  alone = run(store, tmp_path / 'alone', config)
  among = run(store, tmp_path / 'among', swept)
  rows = [[row for row in among[1] if row['setting'] == setting] for setting in range(3)]
  without = lambda row: {**row, 'seconds': 0, 'setting': 0}
  assert [without(row) for row in rows[0]] == [without(row) for row in alone[1]]
  assert {row['status'] for row in rows[0]} == {'running'} and rows[2][-1]['status'] == 'diverged'
  sick = [row for row in rows[2] if row['status'] == 'diverged']
  assert len({(row['diverged_epoch'], row['diverged_step']) for row in sick}) == 1
  # Frozen: what is validated stays the same, and is finite.
  assert len({row['validation_loss'] for row in sick}) == 1
  assert sick[0]['diverged_epoch'] == sick[0]['epoch'] and sick[-1]['train_loss'] is None


def test_progress_counts_every_step_of_every_lane(store, tmp_path, monkeypatch):
  counted, labels, totals = [], [], []

  class Counted(Progress):
    def __init__(self, total):
      totals.append(total)
      super().__init__(total)

  monkeypatch.setattr(trainer, 'Progress', Counted)
  monkeypatch.setattr(trainer, 'time', SimpleNamespace(monotonic=lambda: 100.0))
  for name in ('advance', 'go_to'):
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
  assert_same((rows, metrics, predictions), whole[1])


def test_a_study_stopped_within_epochs_continues_to_the_same_result(store, whole, tmp_path):
  """In the second call of an epoch, in the first and in the last of three."""
  for call in (8, 4, 3):  # of each run, which begins with an epoch
    stopped_run(store, tmp_path / 'study', CONFIG, call)
  assert_same(run(store, tmp_path / 'study', CONFIG), whole[1])


SHORT = dataclasses.replace(CONFIG, variants=('no_ma',), num_seeds=2, num_epochs=3)


@pytest.fixture(scope='module')
def short(store, tmp_path_factory):
  """A shorter study of two lanes: rows, metrics and predictions."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(lanes, 'STEPS_PER_CALL', STEPS_PER_CALL)
    return run(store, tmp_path_factory.mktemp('short') / 'study', SHORT)


@pytest.mark.parametrize('stop', [5, 6, 9])  # calls; the sixth and the ninth end an epoch
def test_ctrl_c_within_an_epoch_costs_no_step(store, short, tmp_path, stop, monkeypatch):
  advance, calls, skipped = Progress.advance, [], []

  def signalled(self, steps):
    calls.append(steps)
    if len(calls) == stop:
      signal.raise_signal(signal.SIGINT)
    return advance(self, steps)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(Progress, 'advance', signalled)
    with pytest.raises(KeyboardInterrupt):
      run(store, tmp_path / 'study', SHORT)
  assert len(calls) == stop
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
  assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
  go_to = Progress.go_to
  monkeypatch.setattr(
    Progress, 'go_to', lambda self, done: [skipped.append(done), go_to(self, done)]
  )
  study, splits, finished = train(store, tmp_path / 'study', SHORT)
  assert_same(outcome(study, splits, finished), short)
  assert skipped == [sum(calls)]
  # The last checkpoint, which other commands read, knows the last epoch too.
  (cohort,) = cohorts.make(SHORT, study.seed_ranges, 1)
  lanes_read = checkpoint.restore_cohort(SHORT, cohort, len(store.classes), study.path)
  assert lanes_read.best.epoch.tolist() == [row['best_epoch'] for row in finished[0].rows]


def test_ctrl_c_after_the_last_checkpoint_is_not_forgotten(store, short, tmp_path):
  start = Progress.start

  def signalled(self, text):
    start(self, text)
    if text.startswith('testing'):
      signal.raise_signal(signal.SIGINT)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(Progress, 'start', signalled)
    with pytest.raises(KeyboardInterrupt):
      run(store, tmp_path / 'study', SHORT)
  assert_same(run(store, tmp_path / 'study', SHORT), short)


def test_a_checkpoint_within_an_epoch_is_enough(store, short, tmp_path):
  """Checkpoints after every call; the run ends without a further one, as a killed one does."""
  stopped_run(store, tmp_path / 'study', SHORT, 6, checkpoint_minutes=0.0)
  assert checkpoint.numbers(tmp_path / 'study/checkpoints/no_ma_seeds_0-1') == [18, 14]
  assert_same(run(store, tmp_path / 'study', SHORT), short)


def test_rows_of_seeds_that_were_given_up_are_in_nobodys_way(store, tmp_path):
  """Their splits are not those of the study that is tested again."""
  path, config = tmp_path / 'study', dataclasses.replace(SHORT, split_seeds=True)
  study, splits, finished = train(store, path, config)
  small_study.write_results(study, store, splits, finished)
  stopped_run(store, path, dataclasses.replace(config, num_seeds=4), 5)
  assert {row['split'] for row in metrics.read(path)} >= {'random 2', 'random 3'}
  small_study.opened(path, config, store)
  (path / 'results.json').unlink()
  assert_same(run(store, path, config), outcome(study, splits, finished))
