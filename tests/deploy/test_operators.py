"""Operators that firmware lacks are refused, and those that copy integers must keep their scale."""

import jax
import numpy as np
import pytest

from data_prep.errors import UserError
from m3net_jax.deploy import convert, operators
from m3net_jax.network import attentions, models
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import architecture_of

pytest.importorskip('tensorflow')
SHAPE = (32, 32, 1)


def converted(name, kind='int8'):
  """The file of a network with random variables."""
  chance, variant = np.random.default_rng(8), architecture_of(name)
  images = chance.standard_normal((4, *SHAPE)).astype(np.float32)
  model = M3Net(variant, 5, 'conv')
  variables = jax.tree.map(
    lambda leaf: chance.uniform(0.05, 1.2, leaf.shape).astype(np.float32),
    jax.eval_shape(lambda: models.init(model, jax.random.key(0), SHAPE)),
  )
  network = convert.Network(name, variant, 5, SHAPE, variables)
  return dict(convert.convert_here(network, images, (kind,)))[kind]


def test_an_operator_that_firmware_lacks_is_refused():
  content = converted('tests.attentions:Cosine', 'float32')
  with pytest.raises(UserError, match='mine: the float32 model needs COS, off the list of opera'):
    operators.check(content, 'mine', 'float32')


def test_a_mirrored_map_is_multiplied_before_a_sum():
  content = converted(f'{attentions.__name__}:EvenOdd')
  assert operators.count(content)['REVERSE_V2'] == 3
  assert 'REVERSE_V2' in operators.check(content, 'EvenOdd', 'int8')


def test_a_wrong_scale_is_refused():
  content = converted('tests.attentions:SumOfMirrors')
  with pytest.raises(UserError, match='would answer wrongly: .* scale within REVERSE_V2: '):
    operators.check(content, 'mine', 'int8')
