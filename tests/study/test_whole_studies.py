"""Whole small studies against a plain loop: every lane, every epoch, its best epoch and its test.

Epochs of several calls, folds of unequal size, splits of every seed, streamed clips, several lanes
at once, the other lowering, class weights; stopped and continued.
"""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from m3net_jax.study import ingredients, lanes, runner, trainer, workdir
from m3net_jax.study.input_pipeline import Feeder
from m3net_jax.study.progress import Progress
from tests import small_study
from tests.example_store import part_of
from tests.study import plain_loop

# 36 training clips are 9 steps of 4: with 4 steps per call an epoch has three calls, the last one
# of a single step.
CONFIG = dataclasses.replace(
  small_study.CONFIG,
  variants=('full', 'plain'),
  num_seeds=3,
  num_epochs=8,
  batch_size=4,
  learning_rate=0.002,
  plateau_patience=2,
  plateau_factor=0.3,
  plateau_tolerance=0.03,
)


@pytest.fixture(autouse=True)
def several_calls(monkeypatch):
  monkeypatch.setattr(lanes, 'STEPS_PER_CALL', 4)


@pytest.fixture(scope='module')
def store(tones):
  """The tones with six wrong labels, and louder in later folds, which are of unequal size."""
  labels = np.array(tones.labels)
  labels[[3, 11, 24, 37, 45, 58]] = [1, 2, 0, 2, 0, 1]
  folds = np.array(([1] * 4 + [2] * 6 + [3] * 10) * 3, np.int32)
  mels = (np.asarray(tones.mels, np.float32) + 6.0 * folds[:, None, None]).astype(np.float16)
  return tones._replace(labels=labels, folds=folds, mels=mels)


def run(store, path, config):
  """A study as the main command runs it: rows of results by lane, metrics, predictions."""
  study = workdir.open_for(path, config, store)
  splits = study.splits(store)
  shared = ingredients.obtain(path, config, store, lambda: splits)
  ingredients.write(path, shared)
  finished = trainer.train(
    config, study.seed_ranges, store, splits, path, trainer.ignore_rows, shared
  )
  rows = {
    name: row for cohort in finished for name, row in zip(cohort.names, cohort.rows, strict=True)
  }
  return rows, study.metrics(), trainer.predictions_by_key(finished, splits), splits


def compare(store, path, config, steps, *, changed_answers=0):
  """Compares a study with the loop; returns the rows of the lanes and the loops."""
  rows, metrics, predictions, splits = run(store, path, config)
  shared = ingredients.obtain(path, config, store, lambda: splits)
  noise = None if shared.noise is None else shared.noise.powers
  loops = {}
  for name, row in rows.items():
    split = splits[name.split]
    teacher = None if shared.teacher is None else shared.teacher[:, name.split]
    loop = plain_loop.train(config, store, split, name.seed, name.variant, steps, noise, teacher)
    epochs = [
      entry
      for entry in metrics
      if (entry['variant'], entry['seed'], entry['split']) == (name.variant, name.seed, split.name)
    ]
    assert [entry['epoch'] for entry in epochs] == list(range(1, config.num_epochs + 1))
    assert {entry['status'] for entry in epochs} == {'running'} and row['status'] == 'finished'
    seconds = [entry['seconds'] for entry in epochs]
    assert seconds == sorted(seconds) and 0 < seconds[-1] < 600
    values = lambda field: [entry[field] for entry in epochs]
    np.testing.assert_allclose(values('learning_rate'), loop.learning_rate, rtol=1e-5)
    np.testing.assert_allclose(values('train_loss'), loop.train_loss, rtol=5e-3)
    np.testing.assert_allclose(values('validation_loss'), loop.validation_loss, rtol=2e-2)
    assert values('validation_accuracy') == loop.validation_accuracy, name
    assert row['best_epoch'] == loop.best_epoch
    assert row['validation_accuracy'] == max(loop.validation_accuracy)
    key = workdir.prediction_key(name.variant, split.name, name.seed)
    np.testing.assert_array_equal(predictions[key], loop.predicted)
    assert row['test_accuracy'] == loop.test_accuracy
    loops[name] = loop
  return rows, loops


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
  [{'lowering': 'conv', 'lanes_at_once': 3}, {'lanes_at_once': 2}, {'class_weights': 'balanced'}],
  ids=str,
)
def test_other_ways_to_compute_are_the_plain_loop_too(store, tmp_path, settings):
  # 20, 13 and 9 clips of a class: 12, 8 and 5 to train on, which are other shares.
  unequal = np.r_[:20, 20:33, 40:49]
  config = dataclasses.replace(CONFIG, num_epochs=6, **settings)
  compare(part_of(store, unequal), tmp_path / 'study', config, 7)


RECIPE = dict(
  variants=('plain',),
  num_seeds=2,
  num_epochs=5,
  warmup_epochs=0.5,
  weight_decay=0.1,
  ema=0.8,
  label_smoothing=0.1,
  class_weights='balanced',
)


@pytest.mark.parametrize(
  'settings',
  [
    {'schedule': 'cosine'},
    {'shift_early_ms': 40.0, 'shift_late_ms': 80.0, 'gain_low_db': -10.0, 'gain_high_db': 5.0},
    {'noise': 0.7, 'snr_low_db': 0.0, 'snr_high_db': 15.0, 'spec_augment': 1.5},
    {'mixup': 0.4, 'schedule': 'cosine', 'lanes_at_once': 3, 'lowering': 'conv'},
  ],
  ids=lambda settings: next(iter(settings)),
)
def test_recipes_are_the_plain_loop(store, tmp_path, settings):
  config = dataclasses.replace(CONFIG, **RECIPE, **settings)
  compare(part_of(store, np.r_[:20, 20:33, 40:49]), tmp_path / 'study', config, 7)


def test_a_teacher_of_the_same_folds_is_in_the_loss(store, tmp_path):
  """Its answers for a split are the mean of its lanes of that split, for training clips alone."""
  folds = dict(variants=('plain',), num_seeds=2, split='folds', num_epochs=4)
  config = dataclasses.replace(CONFIG, **folds)
  small_study.train(store, tmp_path / 'teacher', config)
  taught = dataclasses.replace(
    config, num_seeds=1, teacher=str(tmp_path / 'teacher'), teacher_weight=0.6, mixup=0.4
  )
  compare(store, tmp_path / 'study', taught, 8)
  logits = ingredients.obtain(tmp_path / 'study', taught, store, None).teacher
  opened = workdir.read(tmp_path / 'study')
  for position, split in enumerate(opened.splits(store)):
    assert not logits[np.r_[split.validation, split.test], position].any()
    right = logits[split.train, position].argmax(1) == store.labels[split.train]
    assert right.mean() > 0.5
  assert len(np.unique(logits.any(2).sum(0))) > 1  # folds of unequal size


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


def test_a_sweep_with_every_option_streamed_and_stopped_is_the_resident_one(
  store, tmp_path, monkeypatch
):
  """Noise, teacher, average and the number of the step go on where they were."""
  teacher = dataclasses.replace(CONFIG, variants=('plain',), num_seeds=1, num_epochs=2)
  small_study.train(store, tmp_path / 'teacher', teacher)
  options = {**RECIPE, 'num_epochs': 3, 'noise': 0.8, 'gain_low_db': -9.0, 'mixup': 0.3}
  config = dataclasses.replace(
    CONFIG,
    schedule='cosine',
    teacher=str(tmp_path / 'teacher'),
    sweep=('teacher_weight=0,0.7',),
    shift_late_ms=40.0,
    spec_augment=1.0,
    **options,
  )
  resident = run(store, tmp_path / 'resident', config)
  assert len(resident[1]) == 4 * 3 and len(resident[0]) == 2
  blocks = stream(monkeypatch, block_bytes=4 * 4 * 512)
  stopped_run(store, tmp_path / 'streamed', config, 14)  # in the second epoch: a call has one step
  assert blocks
  assert_same(run(store, tmp_path / 'streamed', config), resident)


@pytest.mark.parametrize('stop', [8, 10, 12])  # calls; an epoch has three
def test_a_study_stopped_within_an_epoch_continues_to_the_same_result(store, whole, tmp_path, stop):
  stopped_run(store, tmp_path / 'study', CONFIG, stop)
  assert_same(run(store, tmp_path / 'study', CONFIG), whole)


def stream(monkeypatch, block_bytes):
  """Lets no store stay on the device; returns the number of blocks of every pass over one."""
  passes = []

  class Streamed(Feeder):
    def __init__(self, *arguments):
      super().__init__(*arguments, resident_bytes=0, block_bytes=block_bytes)

    def blocks(self, orders):
      assert not self.resident
      passes.append(len(orders))
      return super().blocks(orders)

  monkeypatch.setattr(runner, 'Feeder', Streamed)
  return passes


def stopped_run(store, path, config, call):
  """A run that Ctrl-C ends in a call of the training program, counted from 1."""
  calls, advance = [], Progress.advance

  def stopped(self, steps):
    calls.append(steps)
    if len(calls) == call:
      raise KeyboardInterrupt
    return advance(self, steps)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(Progress, 'advance', stopped)
    with pytest.raises(KeyboardInterrupt):
      run(store, path, config)


def assert_same(one, other):
  """Equal bit for bit: rows of results, metrics but for the seconds, predictions."""
  assert one[0] == other[0]
  without_seconds = lambda metrics: [{**row, 'seconds': 0} for row in metrics]
  assert without_seconds(one[1]) == without_seconds(other[1])
  assert one[2].keys() == other[2].keys()
  for key, predicted in one[2].items():
    np.testing.assert_array_equal(predicted, other[2][key])
