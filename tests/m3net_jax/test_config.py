"""Settings that cannot be are named, with their value and the mend."""
from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver

from data_prep import flags as data_flags
from data_prep.cli import UserError
from m3net_jax import main  # noqa: F401 (its flags)
from m3net_jax.config import Config, from_flags


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


def test_seeds_follow_the_first():
  assert list(Config(first_seed=5, num_seeds=3).seeds) == [5, 6, 7]


@pytest.mark.parametrize('path', sorted((Path(__file__).parents[2] / 'launch').glob('*.flags')), ids=lambda path: path.stem)
def test_every_flagfile_asks_for_what_can_be(path):
  with flagsaver.flagsaver():
    flags.FLAGS(['main', f'--flagfile={path}'])
    config, features = from_flags(), data_flags.features_from_flags()
    assert flags.FLAGS.workdir.startswith('studies/') and config.num_seeds > 0 and min(features.shape) > 0
    assert path.read_text().startswith(('# make study', f'# python -m m3net_jax.main --flagfile=launch/{path.name}'))
