"""Settings that cannot be are named, with their value and the mend."""
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep.errors import UserError
from m3net_jax.study.config import Config
from m3net_jax.study.lanes import Training


@pytest.mark.parametrize('settings, message', [
    ({'num_seeds': 0}, '--num_seeds=0: give 1 or more'),
    ({'batch_size': 1}, '--batch_size=1: give 2 or more'),
    ({'num_epochs': -3}, '--num_epochs=-3'),
    ({'learning_rate': 0.0}, '--learning_rate=0.0'),
    ({'learning_rate': float('nan')}, '--learning_rate=nan'),
    ({'min_learning_rate': 0.1}, '--min_learning_rate=0.1: .* at most --learning_rate=0.001'),
    ({'input_shape': (64, 64)}, '--input_shape=64,64: give height,width,channels'),
    ({'input_shape': (64, 64, 2)}, '--input_shape=64,64,2'),
    ({'input_shape': (4, 64, 1)}, '--input_shape=4,64,1'),
    ({'variants': ()}, '--variants='),
    ({'variants': ('full', 'no_maa')}, '--variants=no_maa: unknown; give full, no_ma'),
    ({'variants': ('full', 'full')}, 'full is named twice'),
])
def test_a_setting_that_cannot_be(settings, message):
  with pytest.raises(UserError, match=message) as caught:
    Config(**settings)
  assert '\n' not in str(caught.value)


def test_the_plateau_on_record_is_the_lanes_own():
  default, rule = Config(), Training()
  assert (default.plateau_factor, default.plateau_patience) == (rule.plateau_factor, rule.plateau_patience)


def test_seeds_follow_the_first():
  assert list(Config(first_seed=5, num_seeds=3).seeds) == [5, 6, 7]


# In a process of its own: commands define flags of the same names.
FLAGFILES = """
import pathlib
from absl import flags
from absl.testing import flagsaver
from data_prep.flags import features_from_flags
from m3net_jax import main
from m3net_jax.study.config import from_flags

for path in sorted(pathlib.Path('launch').glob('*.flags')):
  with flagsaver.flagsaver():
    flags.FLAGS(['main', f'--flagfile={path}'])
    config, features = from_flags(), features_from_flags()
    assert flags.FLAGS.workdir.startswith('studies/') and config.num_seeds > 0 and min(features.shape) > 0, path
    assert path.read_text().startswith(('# make study', f'# python -m m3net_jax.main --flagfile={path}')), path
    print(path.stem)
"""


def test_every_flagfile_asks_for_what_can_be():
  root = Path(__file__).parents[2]
  ended = subprocess.run([sys.executable, '-c', FLAGFILES], cwd=root, capture_output=True, text=True, timeout=200)
  assert ended.returncode == 0, ended.stderr
  assert ended.stdout.split() == sorted(path.stem for path in (root / 'launch').glob('*.flags'))
