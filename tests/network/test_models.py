"""The network against numpy, in every variant and lowering, and with a user's own module."""

import functools

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
# One of the variants that differ only in switches.
PROGRAMS = list({VARIANTS[name].program: name for name in reversed(ALL)}.values())


def variables_of(model, shape=SHAPE):
  return _variables(M3Net(model.architecture, model.num_classes, 'shift'), shape)


@functools.cache
def _variables(model, shape):
  """Initial variables with every leaf moved from its neutral value, to detect a forgotten one."""
  variables = jax.jit(lambda key: models.init(model, key, shape))(jax.random.key(0))
  leaves, tree = jax.tree.flatten(variables)
  rng = np.random.default_rng(1)
  moved = [
    np.asarray(leaf) + rng.uniform(0.05, 0.2, leaf.shape).astype(np.float32) for leaf in leaves
  ]
  return jax.tree.unflatten(tree, moved)


def images(n=3, shape=SHAPE):
  return np.random.default_rng(2).standard_normal((n, *shape)).astype(np.float32)


PADS = {1: (1, 1), 2: (0, 1), 4: (0, 0)}  # before and after: TensorFlow's SAME


def np_conv(x, kernel, stride):
  """SAME 3x3 convolution of sizes that the stride divides; kernel [3, 3, in, out]."""
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
  """The network in numpy, written from the paper only."""
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


@functools.cache
def training_step(variant, lowering, precision='float32'):
  """Loss and moving statistics, and the gradient, of a training step."""
  model = M3Net(VARIANTS[variant], 10, lowering, precision)
  variables = variables_of(model)

  def loss(params):
    (logits, _), updated = model.apply(
      {**variables, 'params': params}, images(4), train=True, mutable=['batch_stats']
    )
    return nn.log_softmax(logits)[:, 3].mean(), updated

  return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables['params'])


CASES = [*((name, 'shift') for name in PROGRAMS), ('full', 'matmul'), ('full', 'taps')]


@pytest.mark.parametrize('variant, lowering', CASES)
def test_lowerings_train_alike(variant, lowering):
  """Loss, gradients and moving statistics of a training step are those of convolutions."""
  (conv_loss, conv_stats), conv_gradient = training_step(variant, 'conv')
  (loss, stats), gradient = training_step(variant, lowering)
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


def test_lowerings_train_alike_in_bfloat16():
  """Maps have 8 bits of mantissa, so gradients agree in direction; all that is kept is float32."""
  (exact, exact_stats), exact_gradient = training_step('full', 'conv')
  flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
  for lowering in ('matmul', 'shift'):  # the others have parts of these
    (loss, stats), gradient = training_step('full', lowering, 'bfloat16')
    assert {leaf.dtype.name for leaf in jax.tree.leaves((loss, stats, gradient))} == {'float32'}
    assert 0 < abs(loss - exact) < 0.02 * abs(exact)
    np.testing.assert_allclose(flat(stats), flat(exact_stats), rtol=0.05, atol=0.02)
    a, b = flat(gradient), flat(exact_gradient)
    assert a @ b / np.sqrt(a @ a * (b @ b)) > 0.99


@pytest.mark.parametrize('variant', ('full', 'plain', 'eca', 'eca_csf', 'eca_csf_vmf'))
def test_switches_as_lane_values_equal_the_variant(variant):
  full, ablation = M3Net(VARIANTS['full'], 10, 'shift'), M3Net(VARIANTS[variant], 10, 'shift')
  variables = variables_of(full)
  traced = jax.jit(lambda on: full.apply(variables, images(), switches=on)[0])(
    Switches(*map(jnp.asarray, VARIANTS[variant].switches))
  )
  np.testing.assert_allclose(traced, ablation.apply(variables, images())[0], rtol=1e-4, atol=1e-5)
  assert VARIANTS[variant].program == VARIANTS['full'].program


def test_ma_out_is_the_hadamard_product_of_equation_7():
  model = M3Net(VARIANTS['full'], 10, 'shift')
  _, out = model.apply(variables_of(model), images())
  np.testing.assert_array_equal(out['ma'], out['mfp'] * out['dfp'])
  assert out['sfp'].shape == (3, 4, 3, 64)
  assert out['eca'].shape == (3, 1, 1, 64)


def test_csf_enters_dfp_reversed():
  """DFP with the flip equals DFP without it on a flipped map (equation 6)."""
  module = models.DiagonalFeatureProcessing('shift')
  x = np.random.default_rng(0).standard_normal((2, 6, 5, 4)).astype(np.float32)
  apply = jax.jit(module.apply, static_argnums=(2, 3))
  variables = jax.jit(module.init, static_argnums=(2, 3))(jax.random.key(0), x, Switches(), False)
  on, _ = apply(variables, x, Switches(), False)
  off, _ = apply(variables, mirror.csf(x), Switches(csf=False), False)
  np.testing.assert_array_equal(on, off)


def test_batch_norm_against_flax():
  """The bias before it only changes the moving mean; the rest is as in flax."""
  y, bias = images(4, (5, 6, 8)), np.linspace(-1, 1, 8, dtype=np.float32)
  reference = nn.BatchNorm(use_running_average=False, momentum=0.9, epsilon=1e-3)
  expected, expected_stats = reference.apply(
    reference.init(jax.random.key(0), y), y + bias, mutable=['batch_stats']
  )
  batch_norm = layers.BatchNorm()
  variables = batch_norm.init(jax.random.key(0), y, bias, False)
  out, stats = batch_norm.apply(variables, y, bias, True, mutable=['batch_stats'])
  np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), stats, expected_stats
  )
  inference = nn.BatchNorm(use_running_average=True, momentum=0.9, epsilon=1e-3)
  np.testing.assert_allclose(
    batch_norm.apply({**variables, **stats}, y, bias, False),
    inference.apply({**reference.init(jax.random.key(0), y), **expected_stats}, y + bias),
    rtol=1e-4,
    atol=1e-5,
  )


class Halve(nn.Module):
  """A user's own module in place of Mirror Attention."""

  @nn.compact
  def __call__(self, x):
    return 0.5 * nn.Dense(16)(x)


class Told(nn.Module):
  """A user's own module that is told the lowering."""

  lowering: str

  def __call__(self, x):
    return {'shift': 2, 'tflite': 3}[self.lowering] * x


class Pool(nn.Module):
  """A user's own module that does not return a map."""

  @nn.compact
  def __call__(self, x, train):
    return x.mean((1, 2))


def test_a_users_own_module_takes_the_place_of_mirror_attention():
  architecture = architecture_of(f'{__name__}:Halve')
  model = M3Net(architecture, 5, 'shift')
  logits, out = jax.jit(model.apply)(variables_of(model), images())
  assert logits.shape == (3, 5) and out['ma'].shape == (3, 4, 3, 16)
  assert cost.block_sizes(architecture, 5, SHAPE)['attention'] == 64 * 16 + 16


@pytest.mark.parametrize('lowering, factor', [('shift', 2), ('tflite', 3)])
def test_a_module_with_a_field_for_the_lowering_is_told_it(lowering, factor):
  model = M3Net(architecture_of(f'{__name__}:Told'), 5, lowering)
  _, out = model.apply(variables_of(model), images())
  np.testing.assert_array_equal(out['ma'], factor * out['sfp'])


def test_a_module_that_returns_no_map_is_named():
  with pytest.raises(UserError, match='Pool returned'):
    cost.size(architecture_of(f'{__name__}:Pool'), 5, SHAPE)
