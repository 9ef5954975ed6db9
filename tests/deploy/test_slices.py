"""Mirrors made of slices: the same answers as with REVERSE_V2, in every runtime."""

import jax
import numpy as np
import pytest

from m3net_jax.deploy import convert, operators, slices
from m3net_jax.inference import runtimes
from m3net_jax.network import attentions, models, options
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import architecture_of

SHAPE = (32, 32, 1)


def network(name, mirrors='slices'):
  chance, variant = np.random.default_rng(8), architecture_of(name)
  variables = jax.tree.map(
    lambda leaf: chance.uniform(0.05, 1.2, leaf.shape).astype(np.float32),
    jax.eval_shape(lambda: models.init(M3Net(variant, 5, 'conv'), jax.random.key(0), SHAPE)),
  )
  return convert.Network(name, variant, 5, SHAPE, variables, mirrors)


@pytest.mark.parametrize(
  'name', ['full', f'{attentions.__name__}:EvenOdd', 'tests.attentions:Cosine']
)
def test_no_operation_reverses_and_all_values_are_equal(name):
  made = network(name)
  model = M3Net(made.architecture, made.num_classes, 'conv')
  logits = lambda images: model.apply(
    made.variables, images, train=False, switches=made.architecture.switches
  )[0]
  images = np.random.default_rng(1).standard_normal((2, *SHAPE)).astype(np.float32)
  computed = slices.without_reverse(logits, images)
  if name == 'full':
    assert ' rev[' in str(jax.make_jaxpr(logits)(images))
  assert ' rev[' not in str(jax.make_jaxpr(computed)(images))
  np.testing.assert_array_equal(computed(images)[0], logits(images))


def test_the_converted_files_answer_alike_in_every_runtime():
  for package in ('tensorflow', 'ai_edge_litert', 'tflite_micro'):
    pytest.importorskip(package)
  chance = np.random.default_rng(1)
  images = chance.standard_normal((8, *SHAPE)).astype(np.float32)
  kinds = ('float32', 'int8')
  reverse, sliced = (
    dict(convert.convert_here(network('full', mirrors), images, kinds))
    for mirrors in options.MIRRORS
  )
  for kind in kinds:
    assert 'REVERSE_V2' in operators.check(reverse[kind], 'full', kind)
    assert 'REVERSE_V2' not in operators.check(sliced[kind], 'full', kind)
  for runtime, kind in (('LiteRT', 'float32'), ('LiteRT', 'int8'), ('TFLite Micro', 'int8')):
    answers = [runtimes.Model(made[kind], runtime).logits(images) for made in (reverse, sliced)]
    np.testing.assert_array_equal(*answers)
