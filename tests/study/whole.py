"""Shared by the tests of whole small studies: a study as the main command runs it, and its loop."""

import dataclasses

import numpy as np
import pytest

from m3net_jax.study import ingredients, opening, runner, trainer, workdir
from m3net_jax.study.input_pipeline import Feeder
from m3net_jax.study.progress import Progress
from tests import small_study
from tests.study import plain_loop

# 36 training clips are 9 steps of 4: with 4 steps per call an epoch has three calls, the last one
# of a single step.
STEPS_PER_CALL = 4
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


def store_of(tones):
  """The tones with six wrong labels, and louder in later folds, which are of unequal size."""
  labels = np.array(tones.labels)
  labels[[3, 11, 24, 37, 45, 58]] = [1, 2, 0, 2, 0, 1]
  folds = np.array(([1] * 4 + [2] * 6 + [3] * 10) * 3, np.int32)
  mels = (np.asarray(tones.mels, np.float32) + 6.0 * folds[:, None, None]).astype(np.float16)
  return tones._replace(labels=labels, folds=folds, mels=mels)


def train(store, path, config, **options):
  """Trains a study as the main command does; returns its workdir, splits and trained cohorts."""
  found = opening.find(path, config, store)
  shared = ingredients.obtain(found.begun, config, store, found.splits)
  opening.write(found, store, shared)
  study, splits = found.study, found.splits
  finished = trainer.train(
    config, study.seed_ranges, store, splits, path, trainer.ignore_rows, shared, **options
  )
  return study, splits, finished


def outcome(study, splits, finished):
  """Of a study: rows of results by lane, metrics, predictions, splits."""
  rows = {
    name: row for cohort in finished for name, row in zip(cohort.names, cohort.rows, strict=True)
  }
  return rows, study.metrics(), trainer.predictions_by_key(finished, splits), splits


def run(store, path, config, **options):
  """Trains a study; returns its `outcome`."""
  return outcome(*train(store, path, config, **options))


def compare(store, path, config, steps, ran=None):
  """Compares a study with the loop; returns the rows of the lanes and the loops.

  Args:
    ran: what `run` returned for it; None: it is trained.
  """
  rows, metrics, predictions, splits = ran or run(store, path, config)
  shared = ingredients.obtain(path, config, store, splits)
  noise = None if shared.noise is None else shared.noise.powers
  changed = plain_loop.augmentation(config, store, noise)
  loops = {}
  for name, row in rows.items():
    split = splits[name.split]
    teacher = None if shared.teacher is None else shared.teacher.logits[:, name.split]
    loop = plain_loop.train(config, store, split, name.seed, name.variant, steps, changed, teacher)
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


def stream(monkeypatch, block_bytes):
  """Lets no store stay on the device; returns the number of blocks of every pass over one."""
  passes = []

  class Streamed(Feeder):
    def __init__(self, *arguments, **options):
      super().__init__(*arguments, **{**options, 'resident_bytes': 0, 'block_bytes': block_bytes})

    def blocks(self, orders):
      assert not self.resident
      passes.append(len(orders))
      return super().blocks(orders)

  monkeypatch.setattr(runner, 'Feeder', Streamed)
  return passes


def stopped_run(store, path, config, call, **options):
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
      run(store, path, config, **options)


def assert_same(one, other):
  """Equal bit for bit: rows of results, metrics but for the seconds, predictions."""
  assert one[0] == other[0]
  without_seconds = lambda metrics: [{**row, 'seconds': 0} for row in metrics]
  assert without_seconds(one[1]) == without_seconds(other[1])
  assert one[2].keys() == other[2].keys()
  for key, predicted in one[2].items():
    np.testing.assert_array_equal(predicted, other[2][key])
