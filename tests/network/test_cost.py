"""Counts of parameters and multiply-adds against counts by hand and those of a traced network."""

import jax
import pytest

from m3net_jax.network import cost, models
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import VARIANTS

# Keras's counts by hand: weights, biases, and four values per channel for batch norm.
BLOCKS = {
  'stem': 3 * 3 * 3 * 32 + 32 + 4 * 32,
  'sfp1': 9 * 32 + 32 * 64 + 64 + 4 * 64,
  'sfp2': 9 * 64 + 64 * 64 + 64 + 4 * 64,
  'mfp': (9 * 128 + 128 * 64 + 64 + 4 * 64) + (9 * 64 + 64 * 64 + 64 + 4 * 64),
  'dfp': 9 * 64 + 64 * 64 + 64 + 4 * 64 + 3,
}


def test_every_row_of_the_designs_table():
  assert BLOCKS == {'stem': 1024, 'sfp1': 2656, 'sfp2': 4992, 'mfp': 9664 + 4992, 'dfp': 4992 + 3}
  for classes, head in ((10, 650), (35, 2275)):
    assert cost.block_sizes(VARIANTS['full'], classes, (256, 256, 3)) == {**BLOCKS, 'head': head}


@pytest.mark.parametrize(
  'variant, classes, total',
  [
    ('full', 10, 28973),
    ('full', 35, 30598),
    ('no_ma', 10, 9322),
    ('no_sfp', 10, 23981),
    ('no_mfp', 10, 14317),
    ('no_dfp', 10, 23978),
    ('plain', 10, 28970),
    ('eca', 10, 28973),
    ('eca_csf', 10, 28973),
    ('eca_csf_vmf', 10, 28973),
  ],
)
def test_total_count_in_keras_terms(variant, classes, total):
  size = cost.size(VARIANTS[variant], classes, (256, 256, 3))
  batch_norms = {
    'no_ma': 32 + 2 * 64,
    'no_sfp': 32 + 4 * 64,
    'no_mfp': 32 + 3 * 64,
    'no_dfp': 32 + 4 * 64,
  }
  moving = 2 * batch_norms.get(variant, 32 + 5 * 64)
  assert size == (total, total - moving)


@pytest.mark.parametrize('variant, stem', [('full', 32), ('stride4', 16)])
def test_macs_are_those_of_the_shapes(variant, stem):
  """Counted from the kernels and maps of a traced network: kernel size times output places."""
  model = M3Net(VARIANTS[variant], 10, 'conv')
  variables = models.init(model, jax.random.key(0), (64, 64, 1))
  places = {
    'stem': stem**2,
    'sfp1': (stem // 2) ** 2,
    'sfp2': 8 * 8,
    'mfp': 8 * 8,
    'dfp': 8 * 8,
    'head': 1,
  }
  counted = dict.fromkeys(places, 0)
  for path, leaf in jax.tree_util.tree_leaves_with_path(variables['params']):
    block, name = path[0].key, path[-1].key
    if 'eca' in [key.key for key in path]:
      counted[block] += 3 * 64
    elif name in ('kernel', 'depthwise', 'pointwise'):
      counted[block] += leaf.size * places[block]
  assert cost.block_macs(VARIANTS[variant], 10, (64, 64, 1)) == counted
