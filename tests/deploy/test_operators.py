"""Operators that copy integers must keep their scale."""

import numpy as np
import pytest

from data_prep.errors import UserError
from m3net_jax.deploy import convert, operators
from m3net_jax.network import attentions
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import architecture_of
from tests.network.test_models import variables_of

pytest.importorskip('tensorflow')
SHAPE = (32, 32, 1)


def converted(name):
  images = np.random.default_rng(8).standard_normal((4, *SHAPE)).astype(np.float32)
  variant = architecture_of(name)
  variables = variables_of(M3Net(variant, 5, 'shift'), SHAPE)
  network = convert.Network(name, variant, 5, SHAPE, variables)
  return convert.convert(network, images, ('int8',))['int8']


def test_a_mirrored_map_is_multiplied_before_a_sum():
  content = converted(f'{attentions.__name__}:EvenOdd')
  assert operators.count(content)['REVERSE_V2'] == 3
  assert 'REVERSE_V2' in operators.check(content, 'EvenOdd', 'int8')


def test_a_wrong_scale_is_refused():
  content = converted('tests.attentions:SumOfMirrors')
  with pytest.raises(UserError, match='would answer wrongly: .* scale within REVERSE_V2: '):
    operators.check(content, 'mine', 'int8')
