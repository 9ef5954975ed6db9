"""Whole small studies with other recipes than the paper's, against a plain loop."""

import dataclasses

import numpy as np
import pytest

from m3net_jax.study import ingredients, workdir
from tests import small_study
from tests.example_store import part_of
from tests.study.whole import CONFIG, assert_same, compare, run, stopped_run, stream

pytestmark = pytest.mark.usefixtures('several_calls', 'programs_once')

RECIPE = dict(
  variants=('no_ma',),
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
    {
      'shift_early_ms': 40.0,
      'shift_late_ms': 80.0,
      'gain_low_db': -10.0,
      'gain_high_db': 5.0,
      'noise': 0.7,
      'snr_low_db': 0.0,
      'snr_high_db': 15.0,
      'spec_augment': 1.5,
    },
    {'mixup': 0.4, 'schedule': 'cosine', 'lanes_at_once': 3, 'lowering': 'conv'},
  ],
  ids=lambda settings: next(iter(settings)),
)
def test_recipes_are_the_plain_loop(store, tmp_path, settings):
  config = dataclasses.replace(CONFIG, **RECIPE, **settings)
  compare(part_of(store, np.r_[:20, 20:33, 40:49]), tmp_path / 'study', config, 7)


def test_a_teacher_of_the_same_folds_is_in_the_loss(store, tmp_path):
  """Its answers for a split are the mean of its lanes of that split, for training clips alone."""
  folds = dict(variants=('no_ma',), num_seeds=2, split='folds', num_epochs=4)
  config = dataclasses.replace(CONFIG, **folds)
  small_study.train(store, tmp_path / 'teacher', config)
  taught = dataclasses.replace(
    config, num_seeds=1, teacher=str(tmp_path / 'teacher'), teacher_weight=0.6, mixup=0.4
  )
  compare(store, tmp_path / 'study', taught, 8)
  splits = workdir.read(tmp_path / 'study').splits(store)
  logits = ingredients.obtain(tmp_path / 'study', taught, store, splits).teacher.logits
  for position, split in enumerate(splits):
    assert not logits[np.r_[split.validation, split.test], position].any()
    right = logits[split.train, position].argmax(1) == store.labels[split.train]
    assert right.mean() > 0.5
  assert len(np.unique(logits.any(2).sum(0))) > 1  # folds of unequal size


def test_a_sweep_with_every_option_streamed_and_stopped_is_the_resident_one(
  store, whole, tmp_path, monkeypatch
):
  """Noise, teacher, average and the number of the step go on where they were."""
  options = {**RECIPE, 'num_epochs': 3, 'noise': 0.8, 'gain_low_db': -9.0, 'mixup': 0.3}
  config = dataclasses.replace(
    CONFIG,
    schedule='cosine',
    teacher=str(whole[0]),
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
