"""Every convolution in every lowering: values against loops in numpy, gradients compared."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from m3net_jax.network import ops, options

rng = np.random.default_rng(0)
normal = lambda *shape: rng.standard_normal(shape).astype(np.float32)
SIZES = ((8, 8, 1), (8, 8, 2), (7, 9, 1), (7, 9, 2), (6, 5, 2))  # height, width, stride


def by_hand(x, kernel, stride):
  """A 3x3 convolution with TensorFlow's SAME padding in loops; kernel [3, 3, in, out]."""
  n, height, width, _ = x.shape
  out = np.zeros((n, -(-height // stride), -(-width // stride), kernel.shape[-1]))
  before = [
    max((size - 1) * stride + 3 - full, 0) // 2
    for size, full in zip(out.shape[1:3], (height, width))
  ]
  for i in range(out.shape[1]):
    for j in range(out.shape[2]):
      for a in range(3):
        for b in range(3):
          row, column = i * stride + a - before[0], j * stride + b - before[1]
          if 0 <= row < height and 0 <= column < width:
            out[:, i, j] += x[:, row, column].astype(np.float64) @ kernel[a, b]
  return out


@pytest.mark.parametrize('lowering', options.LOWERINGS)
@pytest.mark.parametrize('height, width, stride', SIZES)
def test_conv_is_the_sum_of_its_definition(height, width, stride, lowering):
  x, kernel = normal(2, height, width, 3), normal(3, 3, 3, 4)
  np.testing.assert_allclose(
    ops.conv(x, kernel, stride, lowering), by_hand(x, kernel, stride), rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize('lowering', options.LOWERINGS)
@pytest.mark.parametrize('height, width, stride', SIZES)
def test_depthwise_is_the_sum_of_its_definition(height, width, stride, lowering):
  x, kernel = normal(2, height, width, 3), normal(3, 3, 1, 3)
  dense = np.zeros((3, 3, 3, 3), np.float32)
  for channel in range(3):
    dense[:, :, channel, channel] = kernel[:, :, 0, channel]
  np.testing.assert_allclose(
    ops.depthwise(x, kernel, stride, lowering), by_hand(x, dense, stride), rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize('lowering', options.LOWERINGS)
def test_pointwise_mixes_channels_of_each_place(lowering):
  x, kernel = normal(2, 4, 5, 3), normal(1, 1, 3, 6)
  expected = np.einsum('nhwc,cd->nhwd', x.astype(np.float64), kernel[0, 0])
  np.testing.assert_allclose(ops.pointwise(x, kernel, lowering), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('batched_kernel', (False, True))
@pytest.mark.parametrize('height, width, stride', SIZES)
@pytest.mark.parametrize('name', ('conv', 'depthwise', 'pointwise'))
def test_lowerings_have_equal_gradients(name, height, width, stride, batched_kernel):
  """Gradients of input and kernel, also under vmap over lanes with one kernel per lane."""
  shapes = {'conv': (3, 3, 3, 4), 'depthwise': (3, 3, 1, 3), 'pointwise': (1, 1, 3, 4)}
  arguments = (stride,) if name != 'pointwise' else ()
  lanes = (2,) if batched_kernel else ()
  x, kernel = normal(*lanes, 2, height, width, 3), normal(*lanes, *shapes[name])

  def gradients(lowering):
    one = lambda x, kernel: getattr(ops, name)(x, kernel, *arguments, lowering)
    function = jax.vmap(one) if batched_kernel else one
    # With a nonlinear reduction the incoming gradient differs at every place.
    loss = lambda x, kernel: jnp.sin(function(x, kernel)).sum()
    return jax.jit(jax.grad(loss, argnums=(0, 1)))(x, kernel)

  references = gradients('conv')
  for lowering in options.LOWERINGS:
    for gradient, reference in zip(gradients(lowering), references):
      np.testing.assert_allclose(gradient, reference, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('window, stride', [((1, 9), 1), ((9, 1), 1), ((3, 5), 1), ((5, 3), 2)])
def test_depthwise_kernels_of_other_sizes(window, stride):
  """Values and gradients of every lowering, on a map with fewer rows than the kernel."""
  x, kernel = normal(2, 7, 10, 3), normal(*window, 1, 3)

  def all_of(lowering):
    function = lambda x, kernel: ops.depthwise(x, kernel, stride, lowering)
    loss = lambda x, kernel: jnp.sin(function(x, kernel)).sum()
    return function(x, kernel), *jax.grad(loss, argnums=(0, 1))(x, kernel)

  references = all_of('conv')
  for lowering in options.LOWERINGS:
    for value, reference in zip(all_of(lowering), references):
      np.testing.assert_allclose(value, reference, rtol=1e-3, atol=1e-4)


def test_only_what_a_lowering_leaves_to_xla_is_a_convolution():
  """A dense convolution with a kernel of each lane is a grouped one, which is slow everywhere."""
  kernels = {'conv': normal(3, 3, 3, 4), 'depthwise': normal(3, 3, 1, 3)}
  kernels['pointwise'] = normal(1, 1, 3, 4)

  def convolutions(lowering):
    count = 0
    for name, kernel in kernels.items():
      arguments = () if name == 'pointwise' else (2,)
      function = lambda x, kernel: getattr(ops, name)(x, kernel, *arguments, lowering).sum()
      jaxpr = jax.make_jaxpr(jax.grad(function, argnums=(0, 1)))(normal(2, 8, 8, 3), kernel)
      count += str(jaxpr).count('conv_general_dilated') > 0
    return count

  assert [convolutions(name) for name in options.LOWERINGS] == [3, 1, 0, 0]


def test_a_cpu_shifts_and_an_accelerator_multiplies_matrices():
  assert [ops.lowering_for(backend) for backend in ('cpu', 'gpu', 'tpu')] == [
    'shift',
    'matmul',
    'matmul',
  ]
