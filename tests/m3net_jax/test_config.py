"""Settings that cannot be are named, with their value and the mend."""
import pytest

from data_prep.cli import UserError
from m3net_jax.config import Config


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
