"""TensorBoard's event files, read back as records (length, checksum, protocol buffer, checksum)."""

import dataclasses
import struct
import sys

import numpy as np
import pytest

from data_prep.errors import UserError
from m3net_jax.study import splits, tensorboard, trainer
from tests import small_study

event_pb2 = pytest.importorskip('tensorboardX.proto.event_pb2')


def scalars(folder):
  """{(run, tag): [(epoch, value)]} of all event files in `folder`."""
  points = {}
  for path in folder.rglob('events*'):
    content, offset = path.read_bytes(), 0
    while offset < len(content):
      (length,) = struct.unpack_from('<Q', content, offset)
      event = event_pb2.Event.FromString(content[offset + 12 : offset + 12 + length])
      offset += 12 + length + 4
      for value in event.summary.value:
        run = path.parent.relative_to(folder).as_posix()
        points.setdefault((run, value.tag), []).append((event.step, value.simple_value))
  return points


def row(seed, epoch, loss, variant='full', split='random'):
  return {
    'variant': variant,
    'seed': seed,
    'split': split,
    'epoch': epoch,
    'train_loss': loss,
    'validation_loss': 2.0,
    'validation_accuracy': 0.25 * (seed + 1),
    'learning_rate': 0.5,
  }


def test_lanes_and_their_aggregates(tmp_path):
  with tensorboard.Board(tmp_path / 'board', lanes=2) as board:
    board.add([row(0, 1, 1.0), row(1, 1, 3.0), row(0, 1, 7.0, 'own.module:Name', 'fold 3')])
    board.add([row(0, 2, None)])  # diverged; one lane of two: no aggregate yet
  points = scalars(tmp_path / 'board')
  assert points['full/random_seed_0', 'loss/train'] == [(1, 1.0)]  # None is left out
  assert points['full/random_seed_0', 'accuracy/validation'] == [(1, 0.25), (2, 0.25)]
  assert points['own.module.Name/fold_3_seed_0', 'loss/train'] == [(1, 7.0)]
  assert [points[f'full/{name}', 'loss/train'] for name in ('mean', 'lowest', 'highest')] == [
    [(1, 2.0)],
    [(1, 1.0)],
    [(1, 3.0)],
  ]
  assert points['full/mean', 'accuracy/validation'] == [(1, 0.375)]
  assert ('own.module.Name/mean', 'loss/train') not in points


def test_an_epoch_is_written_when_it_ends(tmp_path):
  board = tensorboard.Board(tmp_path / 'board', lanes=1)
  board.add([row(0, 1, 1.0)])
  assert scalars(tmp_path / 'board')['full/mean', 'loss/train'] == [(1, 1.0)]
  board.__exit__()


def test_a_continued_study_has_every_epoch_once(tones, tmp_path):
  """The first run stops after an epoch; the second gets the rows of the checkpoint first."""
  config = dataclasses.replace(
    small_study.CONFIG, variants=('full', 'plain'), num_seeds=3, num_epochs=2
  )
  study_splits = splits.make(tones, 'random')
  study = small_study.opened(tmp_path / 'study', config, tones)
  end, calls = trainer._Trainer._end_epoch, []

  def interrupted(self, *arguments):
    calls.append(1)
    if len(calls) == 2:
      raise KeyboardInterrupt
    return end(self, *arguments)

  def train():
    with tensorboard.Board(study.path / 'tensorboard', lanes=3) as board:
      trainer.train(config, study.seed_ranges, tones, study_splits, study.path, board.add)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(trainer._Trainer, '_end_epoch', interrupted)
    with pytest.raises(KeyboardInterrupt):
      train()
  train()
  points, metrics = scalars(study.path / 'tensorboard'), study.metrics()
  for variant in config.variants:
    rows_of = lambda epoch: [
      row for row in metrics if (row['variant'], row['epoch']) == (variant, epoch)
    ]
    for seed in range(3):
      losses = points[f'{variant}/random_seed_{seed}', 'loss/validation']
      assert [step for step, _ in losses] == [1, 2]
      assert [value for _, value in losses] == pytest.approx(
        [rows_of(epoch)[seed]['validation_loss'] for epoch in (1, 2)]
      )
    for name, aggregate in (('mean', np.mean), ('lowest', np.min), ('highest', np.max)):
      values = [value for _, value in points[f'{variant}/{name}', 'accuracy/validation']]
      assert values == pytest.approx(
        [aggregate([row['validation_accuracy'] for row in rows_of(epoch)]) for epoch in (1, 2)]
      )


def test_without_tensorboardx_the_flag_says_how_to_get_it(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'tensorboardX', None)
  with pytest.raises(
    UserError, match=r'--tensorboard: needs tensorboardX: in the folder of m3net_jax, pip install'
  ):
    tensorboard.Board(tmp_path, 1)
