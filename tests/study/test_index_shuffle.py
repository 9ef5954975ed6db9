"""The shuffle of positions is grain's, and a permutation of every length."""

import numpy as np
import pytest
from grain.experimental import index_shuffle

from m3net_jax.study.index_shuffle import shuffled

# Around the lengths at which another number of bits is encrypted, or another path is taken.
LENGTHS = [1, 2, 3, 50, 2000, 16383, 16384, 16385, 60000, 65535, 65536, 65538, 131073]
LENGTHS += [262143, 262144, 262146, 1_000_000, 2**22 + 5, 2**31]


@pytest.mark.parametrize('length', LENGTHS)
@pytest.mark.parametrize('seed', [0, 7, 2**32 - 1])
def test_it_is_grains_shuffle(length, seed):
  drawn = np.random.default_rng(0).integers(0, length, 20)
  positions = np.concatenate([[0, length - 1], drawn])
  expected = [index_shuffle(int(i), length - 1, seed, rounds=4) for i in positions]
  assert shuffled(positions, length, seed).tolist() == expected


@pytest.mark.parametrize('length', [1, 7, 1000, 16384, 16385, 65536, 65537, 300_000])
def test_every_number_is_there_once(length):
  numbers = shuffled(np.arange(length), length, 5)
  assert np.array_equal(np.sort(numbers), np.arange(length))


def test_grain_loses_a_number_at_some_lengths():
  """Why `shuffled` is not grain's function at 4**n + 1. If this fails, grain is repaired."""
  last, first = (index_shuffle(i, 65536, 5, rounds=4) for i in (65536, 0))
  assert last == first


def test_positions_and_earlier_answers_stay_as_they_are():
  positions = np.arange(40)
  first = shuffled(positions, 40, 3)
  first[:] = -1
  assert sorted(shuffled(positions, 40, 3)) == list(range(40)) == positions.tolist()
