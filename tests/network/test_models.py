"""The network: every count of the design's table, every block against numpy, every variant against its description."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from numpy.lib.stride_tricks import sliding_window_view

from data_prep.errors import UserError
from m3net_jax.network import cost, layers, mirror, models
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import VARIANTS, Switches, architecture_of

SHAPE = (32, 24, 3)
ALL = list(VARIANTS)


def variables_of(model, shape=SHAPE):
  """Initial variables with every leaf moved off its neutral value, so that a forgotten one shows."""
  variables = jax.jit(lambda key: models.init(model, key, shape))(jax.random.key(0))
  leaves, tree = jax.tree.flatten(variables)
  rng = np.random.default_rng(1)
  moved = [
    np.asarray(leaf) + rng.uniform(0.05, 0.2, leaf.shape).astype(np.float32) for leaf in leaves
  ]
  return jax.tree.unflatten(tree, moved)


def images(n=3, shape=SHAPE):
  return np.random.default_rng(2).standard_normal((n, *shape)).astype(np.float32)


# Keras's counts, by hand: weights, biases, and four values a channel for batch norm.
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


PADS = {1: (1, 1), 2: (0, 1), 4: (0, 0)}  # before and behind: TensorFlow's SAME


def np_conv(x, kernel, stride):
  """SAME 3x3 convolution for sizes that the stride divides; kernel [3, 3, in, out]."""
  pads = PADS[stride]
  windows = sliding_window_view(np.pad(x, ((0, 0), pads, pads, (0, 0))), (3, 3), (1, 2))[
    :, ::stride, ::stride
  ]
  return np.einsum('nhwcab,abcd->nhwd', windows, kernel)


def np_separable(x, params, stats, stride):
  depthwise, pointwise = np.asarray(params['depthwise']), np.asarray(params['pointwise'])[0, 0]
  pads = PADS[stride]
  windows = sliding_window_view(np.pad(x, ((0, 0), pads, pads, (0, 0))), (3, 3), (1, 2))[
    :, ::stride, ::stride
  ]
  y = np.einsum('nhwcab,abc->nhwc', windows, depthwise[:, :, 0]) @ pointwise + params['bias']
  return np_norm_relu(y, params['bn'], stats['bn'])


def np_norm_relu(y, params, stats):
  normal = (y - stats['mean']) / np.sqrt(stats['var'] + 1e-3) * params['scale'] + params['bias']
  return np.maximum(normal, 0)


def np_eca(x, kernel):
  means = np.pad(x.mean((1, 2)), ((0, 0), (1, 1)))
  mixed = sum(means[:, i : i + x.shape[-1]] * kernel[i, 0, 0] for i in range(3))
  return (1 / (1 + np.exp(-mixed)))[:, None, None]


def np_forward(variant, variables, x):
  """The network in numpy, written from the paper alone."""
  p, s = jax.tree.map(
    lambda leaf: np.asarray(leaf, np.float64), (variables['params'], variables['batch_stats'])
  )
  on = VARIANTS[variant].switches
  strides = (4, 1) if variant == 'stride4' else (2, 2)
  x = np_norm_relu(
    np_conv(x, p['stem']['kernel'], strides[0]) + p['stem']['bias'],
    p['stem']['bn'],
    s['stem']['bn'],
  )
  x = np_separable(x, p['sfp1'], s['sfp1'], 2)
  if variant != 'no_sfp':
    x = np_separable(x, p['sfp2'], s['sfp2'], strides[1])
  t = x[:, :, ::-1] if on.hmf else x
  f = x[:, ::-1] if on.vmf else x
  d = x[:, ::-1, ::-1] if on.csf else x
  mfp = dfp = 1.0
  if variant not in ('no_ma', 'no_mfp'):
    mfp = np_separable(np.concatenate([t, f], -1), p['mfp']['align'], s['mfp']['align'], 1) + x
    mfp = np_separable(mfp, p['mfp']['mix'], s['mfp']['mix'], 1)
  elif variant == 'no_mfp':
    mfp = x
  if variant not in ('no_ma', 'no_dfp'):
    dfp = np_separable(d, p['dfp']['conv'], s['dfp']['conv'], 1)
    if on.eca:
      dfp = dfp * np_eca(dfp, p['dfp']['eca']['kernel'])
  ma = x if variant == 'no_ma' else mfp * dfp
  return ma.mean((1, 2)) @ p['head']['kernel'] + p['head']['bias']


@pytest.mark.parametrize('lowering', ('conv', 'shift', 'tflite'))
@pytest.mark.parametrize('variant', ALL)
def test_forward_pass_against_numpy(variant, lowering):
  model = M3Net(VARIANTS[variant], 10, lowering)
  variables, x = variables_of(model), images()
  logits, _ = jax.jit(model.apply)(variables, x)
  np.testing.assert_allclose(logits, np_forward(variant, variables, x), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize('variant', ALL)
def test_lowerings_train_alike(variant):
  """Loss, gradients and moving statistics of a training step."""

  def step(lowering):
    model = M3Net(VARIANTS[variant], 10, lowering)
    variables = variables_of(model)

    def loss(params):
      (logits, _), updated = model.apply(
        {**variables, 'params': params}, images(4), train=True, mutable=['batch_stats']
      )
      return nn.log_softmax(logits)[:, 3].mean(), updated

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables['params'])

  ((conv_loss, conv_stats), conv_gradient), ((loss, stats), gradient) = step('conv'), step('shift')
  np.testing.assert_allclose(loss, conv_loss, rtol=1e-5)
  scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(conv_gradient))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4 * scale, rtol=1e-2),
    gradient,
    conv_gradient,
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), stats, conv_stats
  )


@pytest.mark.parametrize('variant', ('full', 'plain', 'eca', 'eca_csf', 'eca_csf_vmf'))
def test_switches_as_lane_values_equal_the_variant(variant):
  full, own = M3Net(VARIANTS['full'], 10, 'shift'), M3Net(VARIANTS[variant], 10, 'shift')
  variables = variables_of(full)
  traced = jax.jit(lambda on: full.apply(variables, images(), switches=on)[0])(
    Switches(*map(jnp.asarray, VARIANTS[variant].switches))
  )
  np.testing.assert_allclose(traced, own.apply(variables, images())[0], rtol=1e-4, atol=1e-5)
  assert VARIANTS[variant].program == VARIANTS['full'].program


def test_only_switched_variants_share_a_program():
  assert len({architecture.program for architecture in VARIANTS.values()}) == 7


def test_ma_out_is_the_hadamard_product_of_equation_7():
  model = M3Net(VARIANTS['full'], 10, 'shift')
  _, out = model.apply(variables_of(model), images())
  np.testing.assert_array_equal(out['ma'], out['mfp'] * out['dfp'])
  assert out['sfp'].shape == (3, 4, 3, 64)
  assert out['eca'].shape == (3, 1, 1, 64)


def test_csf_enters_dfp_reversed():
  """A map and its centre-symmetric flip through DFP with the flip off, and on (equation 6)."""
  module = models.DiagonalFeatureProcessing('shift')
  x = np.random.default_rng(0).standard_normal((2, 6, 5, 4)).astype(np.float32)
  apply = jax.jit(module.apply, static_argnums=(2, 3))
  variables = jax.jit(module.init, static_argnums=(2, 3))(jax.random.key(0), x, Switches(), False)
  on, _ = apply(variables, x, Switches(), False)
  off, _ = apply(variables, mirror.csf(x), Switches(csf=False), False)
  np.testing.assert_array_equal(on, off)


def test_batch_norm_against_flax():
  """The bias in front only moves the remembered mean; all else is flax's own."""
  y, bias = images(4, (5, 6, 8)), np.linspace(-1, 1, 8, dtype=np.float32)
  reference = nn.BatchNorm(use_running_average=False, momentum=0.9, epsilon=1e-3)
  theirs, theirs_stats = reference.apply(
    reference.init(jax.random.key(0), y), y + bias, mutable=['batch_stats']
  )
  mine = layers.BatchNorm()
  variables = mine.init(jax.random.key(0), y, bias, False)
  out, stats = mine.apply(variables, y, bias, True, mutable=['batch_stats'])
  np.testing.assert_allclose(out, theirs, rtol=1e-4, atol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), stats, theirs_stats
  )
  still = nn.BatchNorm(use_running_average=True, momentum=0.9, epsilon=1e-3)
  np.testing.assert_allclose(
    mine.apply({**variables, **stats}, y, bias, False),
    still.apply({**reference.init(jax.random.key(0), y), **theirs_stats}, y + bias),
    rtol=1e-4,
    atol=1e-5,
  )


@pytest.mark.parametrize('variant, stem', [('full', 32), ('stride4', 16)])
def test_macs_are_those_of_the_shapes(variant, stem):
  """Counted again from the kernels and maps of a traced network: kernel size times output places."""
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


class Halve(nn.Module):
  """A user's own module in the place of Mirror Attention."""

  @nn.compact
  def __call__(self, x):
    return 0.5 * nn.Dense(16)(x)


class Pool(nn.Module):
  """One that returns no map."""

  @nn.compact
  def __call__(self, x, train):
    return x.mean((1, 2))


def test_a_users_own_module_takes_the_place_of_mirror_attention():
  architecture = architecture_of(f'{__name__}:Halve')
  model = M3Net(architecture, 5, 'shift')
  logits, out = jax.jit(model.apply)(variables_of(model), images())
  assert logits.shape == (3, 5) and out['ma'].shape == (3, 4, 3, 16)
  assert cost.block_sizes(architecture, 5, SHAPE)['attention'] == 64 * 16 + 16


@pytest.mark.parametrize(
  'variant, message',
  [
    ('fulll', '--variants=fulll: unknown'),
    ('nowhere:Thing', 'cannot be imported'),
    (f'{__name__}:SHAPE', 'not a Flax'),
    (f'{__name__}:Gone', 'cannot be imported'),
  ],
)
def test_a_variant_that_is_none_is_named(variant, message):
  with pytest.raises(UserError, match=message):
    architecture_of(variant)


def test_a_module_that_returns_no_map_is_named():
  with pytest.raises(UserError, match='Pool returned'):
    cost.size(architecture_of(f'{__name__}:Pool'), 5, SHAPE)


def test_a_users_file_that_fails_as_it_is_imported_is_named(tmp_path, monkeypatch):
  (tmp_path / 'broken_of_mine.py').write_text('1 / 0\n')
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(
    UserError, match=r'--variants=broken_of_mine:Mine: cannot be imported \(ZeroDivisionError'
  ):
    architecture_of('broken_of_mine:Mine')
