"""A full disk, a read-only one, too little memory: one line, and what was there stays."""

import dataclasses
import os
from typing import NamedTuple

import numpy as np
import pytest

from data_prep import files, store, surroundings
from data_prep.errors import UserError
from data_prep.prepare import prepare
from m3net_jax.deploy import bundle
from m3net_jax.study import arrays_file, checkpoint, cohorts, splits, trainer
from m3net_jax.study.input_pipeline import batch_size, steps_per_epoch
from m3net_jax.study.runner import Runner
from tests import faults, small_study
from tests.conftest import FEATURES


class State(NamedTuple):
  """As much of a lane as a checkpoint needs."""

  epoch: np.ndarray
  values: np.ndarray


def test_a_checkpoint_that_finds_no_space_leaves_the_one_before(tmp_path):
  state = State(np.ones(14), np.random.default_rng(0).normal(size=(14, 5000)))
  losses = np.zeros((14, 2))
  checkpoints = checkpoint.Checkpoints(tmp_path)
  checkpoints.save(1, state, losses)
  with faults.full_disk(2000), pytest.raises(OSError) as raised:
    checkpoints.save(2, state, losses)
  assert raised.value.filename == str(tmp_path) and raised.value.errno in files.FULL
  # The next command.
  checkpoints = checkpoint.Checkpoints(tmp_path)
  assert checkpoint.numbers(tmp_path) == [1]
  read = checkpoint.read(tmp_path, 1, state).state
  np.testing.assert_array_equal(read.values, state.values)
  checkpoints.save(2, state, losses)
  assert checkpoint.numbers(tmp_path) == [2, 1]
  checkpoints.close()
  assert sorted(path.name for path in tmp_path.iterdir()) == ['1', '2']


def test_the_loss_of_a_lane_that_has_just_diverged_is_read_as_written(tmp_path):
  """A processor's NaN has a sign, which JSON does not keep."""
  state, losses = State(np.ones(4), np.arange(4.0)), np.array([[-np.nan], [np.nan], [np.inf], [1]])
  checkpoints = checkpoint.Checkpoints(tmp_path)
  checkpoints.save(1, state, losses)
  checkpoints.close()
  np.testing.assert_array_equal(checkpoint.read(tmp_path, 1, state).losses, losses)


@pytest.mark.parametrize(
  'write',
  [
    lambda path, size: files.write_bytes(path, b'x' * size),
    lambda path, size: files.write_rows(path, [{'loss': 0.5}] * (size // 10)),
    lambda path, size: arrays_file.write(path, a=np.random.default_rng(0).random(size)),
  ],
  ids=['bytes', 'rows', 'arrays'],
)
def test_a_file_that_finds_no_space_stays_as_it_was(tmp_path, write):
  path = tmp_path / 'file'
  write(path, 100)
  before = path.read_bytes()
  with faults.full_disk(4000), pytest.raises(OSError) as raised:
    write(path, 9000)
  assert raised.value.filename == str(path) and raised.value.errno in files.FULL
  assert path.read_bytes() == before and os.listdir(tmp_path) == ['file']
  write(path, 9000)
  assert path.read_bytes() != before


def test_a_store_that_finds_no_space_keeps_its_clips(tones_dir, tmp_path):
  features = dataclasses.replace(FEATURES, n_mels=20)
  make = lambda: prepare('folder', tones_dir, tmp_path, features, num_processes=1)
  for free in (3000, 30_000):  # while clips are computed, while the store is written
    with faults.full_disk(free), pytest.raises(OSError) as raised:
      make()
    assert raised.value.errno in files.FULL and str(tmp_path) in raised.value.filename
    assert not any(path.suffix == '' and path.name[0] != '.' for path in tmp_path.iterdir())
  path = make()
  assert len(store.load(path).mels) == 60
  assert {entry.name for entry in tmp_path.iterdir()} <= {path.name, f'.{path.name}.lock'}


def test_a_bundle_that_finds_no_space_leaves_the_one_before(tmp_path):
  path = tmp_path / 'bundle'

  def write(size):
    with bundle.replacing(path) as folder:
      for name in ('model.json', 'model_int8.tflite'):
        files.write_bytes(folder / name, b'x' * size)

  write(100)
  with faults.full_disk(1000), pytest.raises(OSError, match='File too large'):
    write(2000)
  assert (path / 'model.json').stat().st_size == 100 and os.listdir(tmp_path) == ['bundle']


def test_a_store_on_a_read_only_disk_needs_no_lock(tones_dir, tmp_path):
  stores = tmp_path / 'stores'
  path = prepare('folder', tones_dir, stores, FEATURES, num_processes=1)
  (stores / f'.{path.name}.lock').unlink()
  with faults.read_only(stores):
    assert prepare('folder', tones_dir, stores, FEATURES) == path
    assert len(store.load(path).mels) == 60
    with pytest.raises(OSError, match='Read-only|Permission'):
      prepare('folder', tones_dir, stores, dataclasses.replace(FEATURES, n_mels=8))


def test_a_study_on_a_read_only_disk_is_read(tones, tmp_path):
  study = small_study.opened(tmp_path / 'study', small_study.CONFIG, tones)
  folder, state = study.path / 'checkpoints', State(np.ones(3), np.arange(3.0))
  checkpoints = checkpoint.Checkpoints(folder)
  checkpoints.save(1, state, np.zeros((3, 0)))
  checkpoints.close()
  with faults.read_only(study.path):
    assert small_study.opened(study.path, small_study.CONFIG, tones) == study
    np.testing.assert_array_equal(checkpoint.read(folder, 1, state).state.values, state.values)
    with pytest.raises(OSError, match='Read-only'):
      files.check_writable(study.path)
  files.check_writable(study.path)


def test_a_batch_is_never_larger_than_a_lanes_training_clips(tones):
  made = splits.make(tones, 'random')
  for requested, used, steps in ((12, 12, 3), (36, 36, 1), (37, 36, 1), (100_000, 36, 1)):
    config = dataclasses.replace(small_study.CONFIG, batch_size=requested)
    assert (batch_size(made, config), steps_per_epoch(made, config)) == (used, steps)
    runner = Runner(config, tones, made, cohorts.make(config, [range(2)], 1)[0])
    block, _ = next(runner.training_blocks(0, 1))
    assert block.order.shape == (2, steps, used)
  if_seeds_draw = dataclasses.replace(config, split_seeds=True)
  assert batch_size(made, if_seeds_draw) == 36


def test_a_program_that_needs_more_memory_than_there_is_does_not_run(tones, tmp_path, monkeypatch):
  study = small_study.opened(tmp_path / 'study', small_study.CONFIG, tones)
  monkeypatch.setattr(surroundings, 'memory', lambda: 2**20)
  with pytest.raises(UserError, match=r'^--batch_size=12: training would take [1-9].* each device'):
    trainer.train(study.config, study.seed_ranges, tones, study.splits(tones), study.path)
  assert not (study.path / 'metrics.jsonl').exists()
