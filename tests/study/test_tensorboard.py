"""TensorBoard's event files, read back as the records they are (length, checksum, protocol buffer,
checksum)."""

import struct
import sys

import numpy as np
import pytest

from data_prep.errors import UserError
from m3net_jax.study import splits, tensorboard, trainer, workdir
from m3net_jax.study.config import Config

event_pb2 = pytest.importorskip('tensorboardX.proto.event_pb2')


def scalars(folder):
  """{(run, tag): [(epoch, value)]} of all event files below."""
  found = {}
  for path in folder.rglob('events*'):
    content, at = path.read_bytes(), 0
    while at < len(content):
      (length,) = struct.unpack_from('<Q', content, at)
      event = event_pb2.Event.FromString(content[at + 12 : at + 12 + length])
      at += 12 + length + 4
      for value in event.summary.value:
        run = path.parent.relative_to(folder).as_posix()
        found.setdefault((run, value.tag), []).append((event.step, value.simple_value))
  return found


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
    board.add([row(0, 2, None)])  # diverged, and alone: no aggregate yet
  found = scalars(tmp_path / 'board')
  assert found['full/random_seed_0', 'loss/train'] == [(1, 1.0)]  # None is left out
  assert found['full/random_seed_0', 'accuracy/validation'] == [(1, 0.25), (2, 0.25)]
  assert found['own.module.Name/fold_3_seed_0', 'loss/train'] == [(1, 7.0)]
  assert [found[f'full/{name}', 'loss/train'] for name in ('mean', 'lowest', 'highest')] == [
    [(1, 2.0)],
    [(1, 1.0)],
    [(1, 3.0)],
  ]
  assert found['full/mean', 'accuracy/validation'] == [(1, 0.375)]
  assert ('own.module.Name/mean', 'loss/train') not in found


def test_an_epoch_is_written_when_it_ends(tmp_path):
  board = tensorboard.Board(tmp_path / 'board', lanes=1)
  board.add([row(0, 1, 1.0)])
  assert scalars(tmp_path / 'board')['full/mean', 'loss/train'] == [(1, 1.0)]
  board.__exit__()


def test_a_study_that_goes_on_has_every_epoch_once(tones, tmp_path):
  """The first run stops after its first epoch; the second is told what its checkpoint holds, and goes on."""
  config = Config(
    variants=('full', 'plain'),
    num_seeds=3,
    num_epochs=2,
    batch_size=12,
    learning_rate=0.01,
    input_shape=(16, 16, 1),
  )
  made = splits.make(tones, 'random')
  here = workdir.open_for(tmp_path / 'study', config, tones.features, tones.path, 'sha')
  end, calls = trainer._Trainer._end_epoch, []

  def interrupted(self, *arguments):
    calls.append(1)
    if len(calls) == 2:
      raise KeyboardInterrupt
    return end(self, *arguments)

  def train():
    with tensorboard.Board(here.path / 'tensorboard', lanes=3) as board:
      trainer.train(config, here.seed_ranges, tones, made, here.path, board.add)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(trainer._Trainer, '_end_epoch', interrupted)
    with pytest.raises(KeyboardInterrupt):
      train()
  train()
  found, metrics = scalars(here.path / 'tensorboard'), here.metrics()
  for variant in config.variants:
    mine = lambda epoch: [
      each for each in metrics if (each['variant'], each['epoch']) == (variant, epoch)
    ]
    for seed in range(3):
      points = found[f'{variant}/random_seed_{seed}', 'loss/validation']
      assert [step for step, _ in points] == [1, 2]
      assert [value for _, value in points] == pytest.approx(
        [mine(epoch)[seed]['validation_loss'] for epoch in (1, 2)]
      )
    for name, of in (('mean', np.mean), ('lowest', np.min), ('highest', np.max)):
      assert [
        value for _, value in found[f'{variant}/{name}', 'accuracy/validation']
      ] == pytest.approx(
        [of([each['validation_accuracy'] for each in mine(epoch)]) for epoch in (1, 2)]
      )


def test_without_tensorboardx_the_flag_says_how_to_get_it(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'tensorboardX', None)
  with pytest.raises(
    UserError, match=r'--tensorboard: needs tensorboardX: in the folder of m3net_jax, pip install'
  ):
    tensorboard.Board(tmp_path, 1)
