"""Invalid settings are refused; the message names the flag, its value and the fix."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_prep.errors import UserError
from m3net_jax.study.config import Config
from m3net_jax.study.lanes import Training

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'num_seeds': 0}, '--num_seeds=0: give 1 or more'),
    ({'batch_size': 1}, '--batch_size=1: give 2 or more'),
    ({'num_epochs': -3}, '--num_epochs=-3'),
    ({'learning_rate': 0.0}, '--learning_rate=0.0'),
    ({'learning_rate': float('nan')}, '--learning_rate=nan'),
    ({'learning_rate': float('inf')}, '--learning_rate=inf'),
    ({'min_learning_rate': 0.1}, '--min_learning_rate=0.1: .* at most --learning_rate=0.001'),
    ({'input_shape': (64, 64)}, '--input_shape=64,64: give height,width,channels'),
    ({'input_shape': (64, 64, 2)}, '--input_shape=64,64,2'),
    ({'input_shape': (4, 64, 1)}, '--input_shape=4,64,1'),
    ({'split': 'groupd'}, '--split=groupd: give one of random, official, grouped, folds'),
    ({'channels': 'rgb'}, '--channels=rgb: give one of magma, delta'),
    ({'variants': ()}, '--variants='),
    ({'schedule': 'linear'}, '--schedule=linear: give one of plateau, cosine'),
    ({'warmup_epochs': 100.0}, '--warmup_epochs=100: give less than --num_epochs=100'),
    ({'noise': 1.5}, '--noise=1.5: give a number from 0 to 1'),
    ({'noise': float('nan')}, '--noise=nan: give a number from 0 to 1'),
    ({'ema': 1.0}, '--ema=1.0: give a number from 0 to below 1'),
    ({'gain_low_db': 3.0}, '--gain_low_db=3.0: give a number from -80 to 0'),
    ({'shift_late_ms': -5.0}, '--shift_late_ms=-5.0: give a number of 0 or more'),
    (
      {'noise': 0.5, 'snr_low_db': 30.0, 'snr_high_db': 0.0},
      '--snr_low_db=30.0: is above --snr_high_db=0.0: give a lower --snr_low_db',
    ),
    ({'noise_dir': ('sea', 'rain')}, '--noise_dir=sea,rain: is not used: give --noise=0.8'),
    ({'teacher': 'w'}, '--teacher=w: is not used: give --teacher_weight=0.5'),
    ({'teacher_weight': 0.5}, '--teacher_weight: has no teacher: give --teacher=WORKDIR'),
    ({'snr_low_db': 5.0}, '--snr_low_db: is not used: give --noise=0.8'),
    ({'sweep': ('snr_high_db=20,30',)}, '--snr_high_db: is not used: give --noise=0.8'),
    (
      {'min_learning_rate': 1e-3, 'sweep': ('learning_rate=1e-4,1e-2',)},
      '--min_learning_rate=0.001: give a number above 0, at most --learning_rate=0.0001',
    ),
    ({'sweep': ('learning_rate',)}, '--sweep=learning_rate: give a setting and its values'),
    ({'sweep': ('learning_rate=1e-3',)}, '--sweep=learning_rate=1e-3: has one value: give two'),
    ({'sweep': ('mixup=0,x',)}, '--sweep=mixup=0,x: give a setting and its values'),
    ({'sweep': ('batch_size=16,32',)}, 'batch_size=16,32: batch_size cannot be swept: give learni'),
    ({'sweep': ('mixup=0,0',)}, '--sweep=mixup=0,0: value is given twice'),
    ({'sweep': ('mixup=0,1', 'mixup=2,3')}, '--sweep=mixup=2,3: mixup is given twice'),
    ({'sweep': ('noise=0,2',)}, '--sweep=noise=2.0: give a number from 0 to 1'),
    ({'variants': ('full', 'no_maa')}, '--variants=no_maa: unknown; give full, no_ma'),
    ({'variants': ('full', 'full')}, 'full is named twice'),
  ],
)
def test_an_invalid_setting_is_refused(settings, message):
  with pytest.raises(UserError, match=message) as caught:
    Config(**settings)
  assert '\n' not in str(caught.value)


def test_the_lowest_rate_may_exceed_one_that_a_sweep_replaces():
  Config(min_learning_rate=5e-3, sweep=('learning_rate=1e-2,2e-2',))


def test_the_saved_plateau_rule_is_the_rule_of_the_lanes():
  config, rule = Config(), Training()
  saved = {name: getattr(config, name) for name in rule._fields if hasattr(config, name)}
  assert len(saved) == 5 and saved == {name: getattr(rule, name) for name in saved}


def test_seeds_follow_the_first():
  assert list(Config(first_seed=5, num_seeds=3).seeds) == [5, 6, 7]


def test_every_flagfile_is_valid():
  from absl import flags

  from data_prep.main import features_from
  from m3net_jax import main

  paths = sorted((ROOT / 'launch').glob('*.flags'))
  assert len(paths) > 5
  for path in paths:
    values = flags.FlagValues()
    flags.DEFINE_multi_string('flagfile', [], '', flag_values=values)
    main.define(values)
    values(['main', f'--flagfile={path}'])
    config, features = main.config_from(values), features_from(values)
    assert (
      values.workdir.startswith('studies/') and config.num_seeds > 0 and min(features.shape) > 0
    ), path
    command = f'# python -m m3net_jax.main --flagfile={path.relative_to(ROOT)}'
    assert path.read_text().startswith(('# make study', command)), path


def test_commands_can_be_imported_and_defined_together():
  """Commands share flag names; flags are defined when a command runs, not at its import."""
  from absl import flags

  from m3net_jax import edge, export, main, predict

  for command in (main, predict, export, edge):
    values = flags.FlagValues()
    command.define(values)
    assert len(values) > 0
  assert 'num_seeds' not in flags.FLAGS and 'skip_unreadable' not in flags.FLAGS


def test_values_of_a_notebook_are_kept_as_those_of_a_command():
  """Paths and numbers of numpy: config.json could not hold them."""
  config = Config(
    num_seeds=np.int64(3),
    learning_rate=np.float32(0.5),
    input_shape=np.array([64, 64, 1]),
    noise=0.5,
    noise_dir=[Path('a'), 'b'],
    teacher=Path('c'),
    teacher_weight=0.5,
  )
  assert Config(**json.loads(json.dumps(config.to_json()))) == config
  assert config.noise_dir == ('a', 'b') and config.teacher == 'c'


@pytest.mark.parametrize('name', ['variants', 'noise_dir', 'sweep'])
def test_a_text_in_place_of_a_list_is_named(name):
  with pytest.raises(UserError, match=rf"^{name}='full': give a list, such as \['full'\]$"):
    Config(**{name: 'full'})
