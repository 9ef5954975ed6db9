"""The rivals against their papers' counts, their lowerings, and whole networks of a user's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from data_prep.errors import UserError
from m3net_jax.network import cost, models, rivals, variants
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import RIVALS, architecture_of

rng = np.random.default_rng(0)


@pytest.mark.parametrize(
  'name, shape, total, trainable, macs',
  [
    # MLPerf Tiny's network as Keras counts it, at its 49 frames of 10 coefficients.
    ('ds_cnn', (10, 49, 1), 24908, 23756, 2656768),
    ('ds_cnn', (64, 64, 1), 32588, 31436, 7406336),
    # 40 coefficients, 101 frames: "66K" and "9.2k" in the papers.
    ('tc_resnet_8', (40, 101, 1), 65824, 65168, 1563264),
    ('bc_resnet_1', (40, 101, 1), 11648, 9232, 2696956),
  ],
)
def test_parameters_and_multiply_adds(name, shape, total, trainable, macs):
  architecture = architecture_of(name)
  assert cost.size(architecture, 12, shape) == (total, trainable)
  assert cost.block_sizes(architecture, 12, shape) == {'network': total}
  assert cost.block_macs(architecture, 12, shape) == {'network': macs}


@pytest.mark.parametrize(
  'size, strides, dilation',
  [
    ((4, 10), (8, 2), 1),
    ((1, 9), (1, 2), 1),
    ((1, 1), (1, 2), 1),
    ((3, 1), (2, 1), 1),
    ((1, 3), (1, 1), 4),
    ((5, 5), (2, 1), 1),
  ],
)
@pytest.mark.parametrize('shape', [(2, 12, 17, 3), (2, 5, 8, 3)])
def test_convolutions_are_those_of_lax(size, strides, dilation, shape):
  x = rng.normal(size=shape).astype(np.float32)
  kernel = rng.normal(size=(*size, 1, 3)).astype(np.float32)
  expected = lax.conv_general_dilated(
    x,
    kernel,
    strides,
    'SAME',
    rhs_dilation=(dilation, dilation),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=3,
  )
  for lowering in ('conv', 'shift'):
    got = rivals.depthwise(x, kernel, strides, dilation, lowering)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
  if dilation == 1:
    kernel = rng.normal(size=(*size, 3, 5)).astype(np.float32)
    expected = lax.conv_general_dilated(
      x, kernel, strides, 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )
    for lowering in ('conv', 'shift'):
      got = rivals.dense(x, kernel, strides, lowering)
      np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', ['long_kernels', 'ds_cnn', 'tc_resnet_8'])
def test_every_value_of_the_image_counts(name):
  """A stride larger than its kernel would be blind to the rows between."""
  model, shape = M3Net(architecture_of(name), 5, 'conv'), (128, 128, 1)

  @jax.jit
  def influence(key):
    variables = models.init(model, key, shape)
    images = jax.random.normal(key, (4, *shape))
    # In training mode no ReLU is closed for all clips.
    logits = lambda images: model.apply(variables, images, True, mutable=['batch_stats'])[0][0]
    return jnp.abs(jax.grad(lambda images: (logits(images) ** 3).sum())(images)).sum((0, 3))

  assert (influence(jax.random.key(0)) > 0).mean() > 0.999


@pytest.mark.parametrize('name', RIVALS)
def test_lowerings_compute_the_same_and_have_gradients(name):
  shape = (20, 24, 1)
  images = rng.normal(size=(3, *shape)).astype(np.float32)
  variables = jax.jit(lambda key: models.init(M3Net(architecture_of(name), 4, 'conv'), key, shape))(
    jax.random.key(1)
  )

  def outputs(lowering):
    model = M3Net(architecture_of(name), 4, lowering)

    def loss(params):
      (logits, maps), updated = model.apply(
        {**variables, 'params': params}, images, train=True, mutable=['batch_stats']
      )
      assert maps == {}
      return (logits**2).sum(), (logits, updated['batch_stats'])

    (_, (logits, statistics)), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(
      variables['params']
    )
    return logits, statistics, gradient, tested(lowering)

  def tested(lowering):
    model = M3Net(architecture_of(name), 4, lowering)
    return jax.jit(lambda: model.apply(variables, images, train=False)[0])()

  by_lowering = {lowering: outputs(lowering) for lowering in ('conv', 'shift')}
  assert by_lowering['conv'][0].shape == (3, 4)
  leaves = jax.tree.leaves(by_lowering['conv'][2])
  assert all(np.isfinite(leaf).all() for leaf in leaves)
  assert np.mean([np.abs(leaf).max() > 1e-6 for leaf in leaves]) > 0.6
  pairs = [*zip(*map(jax.tree.leaves, (by_lowering['conv'], by_lowering['shift'])))]
  # The third lowering is never trained.
  for one, two in (*pairs, (by_lowering['conv'][3], tested('tflite'))):
    scale = max(1.0, float(np.abs(one).max()))
    np.testing.assert_allclose(two, one, rtol=1e-3, atol=1e-3 * scale)


@pytest.mark.parametrize('name', RIVALS)
@pytest.mark.parametrize('shape', [(8, 8, 1), (33, 20, 3)])
def test_any_size_of_image_is_taken(name, shape):
  model = M3Net(architecture_of(name), 3, 'shift')
  logits = jax.eval_shape(
    lambda key: model.apply(models.init(model, key, shape), jnp.zeros((2, *shape)))[0],
    jax.random.key(0),
  )
  assert logits.shape == (2, 3)


def test_the_blocks_of_bc_resnet_see_further_in_time_stage_by_stage():
  """Dilations 1, 2, 4, 8 in stages of 2, 2, 4 and 4 blocks (Kim et al. 2021, Table 1)."""
  shape = (40, 101, 1)
  model = M3Net(architecture_of('bc_resnet_1'), 12, 'conv')
  program = jax.make_jaxpr(
    lambda key: model.apply(models.init(model, key, shape), jnp.zeros((1, *shape)))[0]
  )(jax.random.key(0))
  convolutions = [
    step.params
    for step in program.eqns
    if step.primitive.name == 'conv_general_dilated'
    and step.invars[1].aval.shape[:2] == (1, 3)  # along time
  ]
  dilations = [params['rhs_dilation'][1] for params in convolutions]
  # Once when the variables are initialised, once when they are applied.
  assert dilations == 2 * ([1] * 2 + [2] * 2 + [4] * 4 + [8] * 4)


class Linear(nn.Module):
  """A whole network without `train` and `lowering`."""

  num_classes: int

  @nn.compact
  def __call__(self, images):
    return nn.Dense(self.num_classes, name='only')(images.mean((1, 2)))


class Map(nn.Module):
  num_classes: int

  @nn.compact
  def __call__(self, images, train):
    return images


def test_a_module_with_num_classes_is_the_whole_network():
  name = variants.name_of(Linear)
  assert name == 'tests.network.test_rivals:Linear'
  architecture = architecture_of(name)
  assert architecture.network is Linear and architecture.attention is None
  assert cost.size(architecture, 5, (16, 16, 3)) == (20, 20)
  assert cost.block_macs(architecture, 5, (16, 16, 3)) == {'network': 15}
  with pytest.raises(UserError, match=r'Map returned \(1, 16, 16, 1\) for images .*\(1, 5\)'):
    cost.size(architecture_of('tests.network.test_rivals:Map'), 5, (16, 16, 1))


def test_multiply_adds_in_scans_and_branches_are_counted():
  class Loop(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, images):
      kernel = self.param('kernel', nn.initializers.ones, (4, 4))
      x = jnp.ones((len(images), 4))
      x, _ = lax.scan(lambda x, _: (x @ kernel, None), x, length=7)
      x = lax.cond(images.sum() > 0, lambda: x @ kernel @ kernel, lambda: x @ kernel)
      return x[:, : self.num_classes]

  architecture = architecture_of(variants.name_of(Loop))
  assert cost.macs(architecture, 2, (8, 8, 1)) == 7 * 16 + 2 * 16
