"""Mirror Attention in other forms: each against its equation in numpy, and what sets it apart."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy import ndimage

from m3net_jax.network import attentions, cost, models
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import architecture_of
from tests.network.test_models import np_eca, np_norm_relu, variables_of

PUBLISHED = 19651
PAGE = Path(__file__).parents[2] / 'docs' / 'extend.md'
# The page's table: name, equation, parameters.
TABLE = dict(re.findall(r'^\| `(\w+)` \|.*\| ([\d,]+) \|$', PAGE.read_text(), re.MULTILINE))
FORMS = [
  name
  for name, form in vars(attentions).items()
  if isinstance(form, type)
  and issubclass(form, nn.Module)
  and form not in (attentions.Separable, attentions.SubSpectralNorm)
]
HEIGHT, WIDTH = 6, 4


def architecture(name):
  return architecture_of(f'{attentions.__name__}:{name}')


def maps(n=2):
  x = np.random.default_rng(3).standard_normal((n, HEIGHT, WIDTH, 64))
  return np.maximum(x, 0).astype(np.float32)


def made(name, lowering='shift'):
  """A form and its variables, none of them neutral."""
  form = getattr(attentions, name)(lowering)
  shapes = jax.eval_shape(lambda key: form.init(key, maps(), False), jax.random.key(0))
  rng = np.random.default_rng(4)
  value = lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32)
  variables = jax.tree.map(value, dict(shapes))
  variables['batch_stats'] = jax.tree.map(np.abs, variables['batch_stats'])
  return form, variables


h, v, c = (lambda x: x[:, :, ::-1]), (lambda x: x[:, ::-1]), (lambda x: x[:, ::-1, ::-1])


class Numpy:
  """The parts M and D of a form in numpy, from its parameters."""

  def __init__(self, variables):
    to_numpy = lambda leaf: np.asarray(leaf, np.float64)
    self.p, self.s = jax.tree.map(to_numpy, (variables['params'], variables['batch_stats']))

  def depthwise(self, x, kernel):
    """SAME, stride 1; kernel [rows, columns, 1, c]."""
    return np.stack(
      [
        ndimage.correlate(x[..., i], kernel[None, :, :, 0, i], mode='constant')
        for i in range(x.shape[-1])
      ],
      -1,
    )

  def after(self, y, part, relu=True):
    """Pointwise convolution, norm and ReLU of the depthwise result."""
    p, s = self.p[part], self.s[part]['bn']
    y = y @ p['pointwise'][0, 0] + p['bias']
    if s['mean'].ndim == 2:  # rows 0 and 1 of six are band 0, rows 2, 3 and 5 bands 1, 2 and 3
      s = {key: values[[0, 0, 1, 2, 2, 3]][:, None] for key, values in s.items()}
    if relu:
      return np_norm_relu(y, p['bn'], s)
    return (y - s['mean']) / np.sqrt(s['var'] + 1e-3) * p['bn']['scale'] + p['bn']['bias']

  def s_of(self, part, x, relu=True, stride=1):
    first = stride - 1  # SAME pads an even size after its end only
    y = self.depthwise(x, self.p[part]['depthwise'])[:, first::stride, first::stride]
    return self.after(y, part, relu)

  def m(self, *views, skip=None, stride=1):
    aligned = self.s_of('align', np.concatenate(views, -1), stride=stride)
    return self.s_of('mix', aligned + skip)

  def d(self, x, relu=True, stride=1):
    y = self.s_of('conv', x, relu, stride)
    return y * np_eca(y, self.p['eca']['kernel'])

  def gate(self, name, flip, x):
    return x + self.p[f'gate_{name}'] * (flip(x) - x)

  def mirrored_kernels(self, x):
    """Mirrors the map before and after the depthwise convolution in place of the kernel."""
    kernel = self.p['align']['depthwise']
    y = np.concatenate([flip(self.depthwise(flip(x), kernel)) for flip in (h, v)], -1)
    return self.s_of('mix', self.after(y, 'align') + x)

  def long_kernels(self, x):
    taps = self.p['align']['depthwise'].reshape(9, 128)
    y = [
      self.depthwise(x, taps[None, :, None, :64]),
      self.depthwise(x, taps[:, None, None, 64:]),
    ]
    return self.s_of('mix', self.after(np.concatenate(y, -1), 'align') + x)

  def blocks(self, x):
    for block in range(4):
      x = x + self.s_of(f'block{block}', x)
    return x


sigmoid = lambda x: 1 / (1 + np.exp(-x))
half = lambda a, b: (a + b) / 2
BY_HAND = {
  'Published': lambda n, x: n.m(h(x), v(x), skip=x) * n.d(c(x)),
  'Gated': lambda n, x: (
    n.m(n.gate('hmf', h, x), n.gate('vmf', v, x), skip=x) * n.d(n.gate('csf', c, x))
  ),
  'Residual': lambda n, x: x + n.m(h(x), v(x), skip=x) * n.d(c(x)),
  'TimeOnly': lambda n, x: n.m(h(x), x, skip=x) * n.d(h(x)),
  'FrequencyOnly': lambda n, x: n.m(x, v(x), skip=x) * n.d(v(x)),
  'MirroredKernels': lambda n, x: n.mirrored_kernels(x) * n.d(x),
  'SigmoidProduct': lambda n, x: n.m(h(x), v(x), skip=x) * sigmoid(n.d(c(x), relu=False)),
  'SigmoidResidual': lambda n, x: x + n.m(h(x), v(x), skip=x) * sigmoid(n.d(c(x), relu=False)),
  'SubSpectral': lambda n, x: n.m(h(x), v(x), skip=x) * n.d(c(x)),
  'HalfSize': lambda n, x: n.m(h(x), v(x), skip=x[:, ::2, ::2], stride=2) * n.d(c(x), stride=2),
  'LongKernels': lambda n, x: n.long_kernels(x) * n.d(x),
  'EvenOdd': lambda n, x: n.m(half(x, h(x)), half(x, v(x)), skip=x) * n.d(half(x, -c(x))),
  'Blocks': lambda n, x: n.blocks(x),
}


OTHER_LOWERINGS = [
  (name, lowering) for name in ('LongKernels', 'MirroredKernels') for lowering in ('conv', 'tflite')
]


@pytest.mark.parametrize('name, lowering', [*((name, 'shift') for name in FORMS), *OTHER_LOWERINGS])
def test_every_form_is_its_equation(name, lowering):
  form, variables = made(name, lowering)
  y = jax.jit(form.apply, static_argnums=2)(variables, maps(), False)
  expected = BY_HAND[name](Numpy(variables), maps().astype(np.float64))
  np.testing.assert_allclose(y, expected, rtol=2e-3, atol=2e-3)
  size = (3, 2) if name == 'HalfSize' else (HEIGHT, WIDTH)
  assert y.shape == (2, *size, 64)


def test_the_page_lists_every_form_with_its_parameters():
  assert list(TABLE) == FORMS == list(BY_HAND)
  for name, stated in TABLE.items():
    parameters = cost.block_sizes(architecture(name), 10, (64, 64, 1))['attention']
    assert parameters == int(stated.replace(',', '')), name
    if name != 'SubSpectral':
      assert parameters == pytest.approx(PUBLISHED, rel=0.02), name
  trainable = lambda name: cost.size(architecture(name), 10, (64, 64, 1)).trainable
  assert (
    trainable('SubSpectral')
    == trainable('Published')
    == cost.size(architecture_of('full'), 10, (64, 64, 1)).trainable
  )


@pytest.mark.parametrize('name', FORMS)
def test_every_parameter_learns(name):
  """At the initial values; the bias before batch norm has no effect in training."""
  form = getattr(attentions, name)('shift')
  weights = np.random.default_rng(5).standard_normal((4, HEIGHT, WIDTH, 64))

  @jax.jit
  def gradients(key):
    variables = form.init(key, maps(), False)

    def loss(params):
      y, _ = form.apply(
        {**variables, 'params': params}, maps(4), train=True, mutable=['batch_stats']
      )
      return (y * weights[:, : y.shape[1], : y.shape[2]]).sum()

    return jax.grad(loss)(variables['params'])

  for path, gradient in jax.tree_util.tree_leaves_with_path(gradients(jax.random.key(0))):
    names = [key.key for key in path]
    assert np.isfinite(gradient).all(), names
    if names[-1] != 'bias' or 'bn' in names:
      assert np.abs(gradient).max() > 1e-4, names


def published_of(variables):
  """Variables of the variant `full` in the names of `Published`."""
  moved = {}
  for collection, blocks in variables.items():
    rest = {name: block for name, block in blocks.items() if name not in ('mfp', 'dfp')}
    moved[collection] = {**rest, 'attention': {**blocks['mfp'], **blocks['dfp']}}
  return moved


def logits(variant, variables):
  images = np.random.default_rng(6).standard_normal((3, 32, 24, 3)).astype(np.float32)
  return jax.jit(M3Net(variant, 10, 'shift').apply)(variables, images)[0]


def with_gates(variables, value):
  gates = {f'gate_{flip}': jnp.full(64, value) for flip in ('hmf', 'vmf', 'csf')}
  params = variables['params']
  attention = {**params['attention'], **gates}
  return {**variables, 'params': {**params, 'attention': attention}}


def test_published_is_the_variant_full_and_gates_lead_to_it():
  """With gates of 0, their initial value, the mirrors are off; with gates of 1 they are on."""
  full, no_mirrors = architecture_of('full'), architecture_of('eca')
  variables = variables_of(M3Net(full, 10, 'shift'))
  moved = published_of(variables)
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  close(logits(architecture('Published'), moved), logits(full, variables))
  gated = architecture('Gated')
  close(logits(gated, with_gates(moved, 1.0)), logits(full, variables))
  close(logits(gated, with_gates(moved, 0.0)), logits(no_mirrors, variables))
  assert not np.allclose(logits(full, variables), logits(no_mirrors, variables), rtol=1e-3)
  initial = models.init(M3Net(gated, 10, 'shift'), jax.random.key(0), (32, 24, 3))['params']
  assert not any(initial['attention'][f'gate_{flip}'].any() for flip in ('hmf', 'vmf', 'csf'))


def test_bands_have_statistics_of_their_own():
  """Training normalises every band by itself and moves the averages by a tenth."""
  norm = attentions.SubSpectralNorm()
  y = np.random.default_rng(7).standard_normal((5, HEIGHT, WIDTH, 3)).astype(np.float32)
  y += 10 * np.arange(HEIGHT, dtype=np.float32)[:, None, None]
  bias = np.float32([1, 2, 3])
  variables = norm.init(jax.random.key(0), y, bias, False)
  normal, stats = norm.apply(variables, y, bias, True, mutable=['batch_stats'])
  for band, rows in enumerate(([0, 1], [2], [3, 4], [5])):
    mean, variance = y[:, rows].mean((0, 1, 2)), y[:, rows].var((0, 1, 2))
    expected = (y[:, rows] - mean) / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(normal[:, rows], expected, rtol=1e-2, atol=2e-2)
    moving = stats['batch_stats']
    np.testing.assert_allclose(moving['mean'][band], 0.1 * (mean + bias), rtol=1e-4)
    np.testing.assert_allclose(moving['var'][band], 0.9 + 0.1 * variance, rtol=1e-3)


def test_even_and_odd_parts_are_what_their_mirrors_say():
  x = maps()
  in_time, in_frequency = (view(x) for view in attentions.EvenOdd.views)
  turned = attentions.EvenOdd.diagonal[0](x)
  np.testing.assert_array_equal(h(in_time), in_time)
  np.testing.assert_array_equal(v(in_frequency), in_frequency)
  np.testing.assert_array_equal(c(turned), -turned)
