"""How a study is computed on its devices: memory, lanes at once, the fastest lowering."""

import dataclasses

import jax
import numpy as np
import pytest

from data_prep.errors import UserError
from m3net_jax.network import options
from m3net_jax.study import checkpoint, cohorts, devices, metrics, plan, splits, trainer, tuning
from m3net_jax.study.runner import Runner
from tests import small_study

CONFIG = dataclasses.replace(small_study.QUICK, num_seeds=6, num_epochs=2, lanes_at_once=3)


def trained(tones, path, config):
  """The last losses [lanes] of a study, and the lanes at once of its runners."""
  study = small_study.opened(path, config, tones)
  used = []
  make = trainer.Runner
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(trainer, 'Runner', lambda *args: used.append(make(*args)) or used[-1])
    trainer.train(config, study.seed_ranges, tones, study.splits(tones), study.path)
  rows = [row for row in metrics.read(study.path) if row['epoch'] == config.num_epochs]
  return [row['train_loss'] for row in rows], [runner.lanes_at_once for runner in used]


def planned(tones, config):
  """MiB of each device in training, as the compiler plans it."""
  (row,) = plan.measure(config, [config.seeds], tones, splits.make(tones, 'random'))
  return row.device_bytes / 2**20


def test_lanes_that_do_not_fit_are_trained_with_fewer_at_once(tones, tmp_path, capsys):
  three = planned(tones, CONFIG)
  losses, used = trained(tones, tmp_path / 'all', CONFIG)
  assert used == [3]
  limited = dataclasses.replace(CONFIG, memory_gib=0.9 * three / 1024)
  fewer, used = trained(tones, tmp_path / 'fewer', limited)
  assert used == [3, 1]
  np.testing.assert_allclose(fewer, losses, rtol=1e-3)
  (line,) = [line for line in capsys.readouterr().err.splitlines() if 'at_once' in line]
  assert line.startswith('--lanes_at_once=3: training would take ')
  assert line.endswith(': going on with 1')


def test_a_device_without_memory_halves_the_lanes_at_once_and_goes_on(tones, tmp_path, monkeypatch):
  """The error comes in the second epoch, as it does if others use the device."""
  expected, _ = trained(tones, tmp_path / 'one', dataclasses.replace(CONFIG, lanes_at_once=1))
  scores = Runner.scores

  def fail_once(self, *args, **kwargs):
    if self.lanes_at_once > 1 and len(metrics.read(tmp_path / 'fails')) == CONFIG.num_seeds:
      raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.')
    return scores(self, *args, **kwargs)

  monkeypatch.setattr(Runner, 'scores', fail_once)
  losses, used = trained(tones, tmp_path / 'fails', CONFIG)
  assert used == [3, 1]
  np.testing.assert_allclose(losses, expected, rtol=1e-3)
  cohort = cohorts.make(CONFIG, [CONFIG.seeds], 1)[0]
  folder = checkpoint.folder_of(tmp_path / 'fails', cohort)
  assert len(checkpoint.numbers(folder)) == 2


def test_devices_that_share_the_batches_of_a_study_give_it_to_rounding(tones, tmp_path):
  config = dataclasses.replace(CONFIG, num_seeds=1, lanes_at_once=1)
  alone, _ = trained(tones, tmp_path / 'alone', config)
  shared, _ = trained(tones, tmp_path / 'shared', dataclasses.replace(config, devices_per_lane=2))
  np.testing.assert_allclose(shared, alone, rtol=1e-3)


def test_another_error_of_the_device_is_not_taken_for_memory():
  def use(runner):
    raise jax.errors.JaxRuntimeError('INTERNAL: something else')

  with pytest.raises(jax.errors.JaxRuntimeError, match='INTERNAL'):
    tuning.fewer_until_it_fits(use, lambda at_once: None, print)


def test_a_plan_says_what_does_not_fit(tones, capsys):
  config = dataclasses.replace(CONFIG, memory_gib=1e-4)
  (row,) = plan.measure(config, [config.seeds], tones, splits.make(tones, 'random'))
  assert row.device_bytes > 2**20 * 0.1
  assert row.step_seconds is row.seconds is None
  assert '--batch_size=12: training would take' in capsys.readouterr().err


def test_a_study_that_does_not_fit_names_the_batch(tones, tmp_path):
  config = dataclasses.replace(CONFIG, memory_gib=1e-4)
  with pytest.raises(UserError, match='^--batch_size=12: .* one lane after another: give less$'):
    trained(tones, tmp_path / 'study', config)


def test_the_fastest_lowering_is_measured_and_kept(tones):
  """On this CPU as if it were an accelerator; `conv` in lanes together is far slower."""
  made = splits.make(tones, 'random')
  lines = []
  config = dataclasses.replace(CONFIG, lowering='auto', lanes_at_once=0)
  measure = lambda config, before=(): tuning.settled(
    config, [config.seeds], tones, made, before=before, note=lines.append, backend='gpu'
  )
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(options, 'LOWERINGS', ('conv', 'shift'))
    chosen = measure(config)
  assert chosen.lowering == 'shift' and chosen.lanes_at_once >= 1
  (line,) = lines
  assert 'conv x' in line and 'shift x' in line
  before = [{'device': devices.name(), 'lowering': 'taps', 'lanes_at_once': 2}]
  again = measure(config, before)
  assert (again.lowering, again.lanes_at_once) == ('taps', 2)  # continued as it was begun
  given = measure(dataclasses.replace(config, lowering='matmul', lanes_at_once=5))
  assert (given.lowering, given.lanes_at_once) == ('matmul', 5)
  assert len(lines) == 1  # nothing was timed


def test_a_cpu_computes_lanes_one_after_another_by_shifts(tones):
  config = dataclasses.replace(CONFIG, lowering='auto', lanes_at_once=0)
  chosen = tuning.settled(config, [config.seeds], tones, splits.make(tones, 'random'))
  assert (chosen.lowering, chosen.lanes_at_once) == ('shift', 1)


def test_devices_share_a_batch_only_in_equal_parts(monkeypatch):
  config = dataclasses.replace(CONFIG, devices_per_lane=2)
  assert devices.devices_per_lane(config, 6, 12) == 2
  assert devices.devices_per_lane(config, 6, 13) == 1
  assert devices.devices_per_lane(dataclasses.replace(config, devices_per_lane=9), 6, 12) == 2
  assert devices.devices_per_lane(dataclasses.replace(config, devices_per_lane=0), 1, 12) == 1
