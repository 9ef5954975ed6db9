"""The layers of M3Net as Flax modules (paper, Section 2.2 and Figure 2).

A convolution, its batch norm and its ReLU are one layer; efficient channel attention is another.

Initial values and constants are those of Keras, which the paper used for training: Glorot uniform
kernels, zero biases, epsilon 1e-3. The momentum is 0.9: Keras's 0.99 lags behind on a corpus with
a few dozen steps per epoch.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from m3net_jax.network import ops, options

EPSILON, MOMENTUM = options.BATCH_NORM_EPSILON, options.BATCH_NORM_MOMENTUM


class BatchNorm(nn.Module):
  """Batch normalisation of a convolution's output [..., channels] before its bias is added.

  In training a bias before batch norm cancels, so here it only changes the moving mean. This saves
  a pass over the map, and the gradient of the bias is exactly zero.
  """

  @nn.compact
  def __call__(self, y: jax.Array, bias: jax.Array, train: bool) -> jax.Array:
    channels = y.shape[-1:]
    scale = self.param('scale', nn.initializers.ones, channels)
    shift = self.param('bias', nn.initializers.zeros, channels)
    mean = self.variable('batch_stats', 'mean', jnp.zeros, channels)
    variance = self.variable('batch_stats', 'var', jnp.ones, channels)
    dtype, y = y.dtype, y.astype(jnp.float32)
    if train:
      axes = tuple(range(y.ndim - 1))
      batch_mean = y.mean(axes)
      batch_variance = jnp.maximum((y * y).mean(axes) - batch_mean * batch_mean, 0.0)
      if not self.is_initializing():
        mean.value = MOMENTUM * mean.value + (1 - MOMENTUM) * lax.stop_gradient(batch_mean + bias)
        variance.value = MOMENTUM * variance.value + (1 - MOMENTUM) * lax.stop_gradient(
          batch_variance
        )
    else:
      batch_mean, batch_variance = mean.value - bias, variance.value
    factor = scale * lax.rsqrt(batch_variance + EPSILON)
    return (y * factor + (shift - batch_mean * factor)).astype(dtype)


class Conv(nn.Module):
  """Dense 3x3 convolution with bias, batch norm, ReLU.

  [n, h, w, c] to [n, ceil(h/stride), ceil(w/stride), features].
  """

  features: int
  stride: int
  lowering: str

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    kernel = self.param(
      'kernel', nn.initializers.glorot_uniform(), (3, 3, x.shape[-1], self.features)
    )
    bias = self.param('bias', nn.initializers.zeros, (self.features,))
    return nn.relu(
      BatchNorm(name='bn')(ops.conv(x, kernel, self.stride, self.lowering), bias, train)
    )


def then_depthwise(
  convolve: Callable[[jax.Array], jax.Array],
  kernel: jax.Array,
  layer: Mapping[str, Any],
  statistics: Mapping[str, Any],
  depthwise: jax.Array,
  stride: int,
) -> jax.Array:
  """A trained layer and the depthwise convolution after it, in halves of the channels.

  No half needs the other, so only half of the map between them has to be in memory at a time.

  Args:
    convolve: the layer's convolution, of a kernel [..., some channels].
    kernel: of all channels.
    layer, statistics: the layer's bias, and parameters and statistics of its batch norm.
    depthwise: [3, 3, 1, channels].
    stride: of the depthwise convolution.

  Returns:
    What both return one after the other.
  """
  batch_norm, moving = layer['bn'], statistics['bn']
  factor = batch_norm['scale'] * lax.rsqrt(moving['var'] + EPSILON)
  shift = batch_norm['bias'] - (moving['mean'] - layer['bias']) * factor
  half = len(shift) // 2
  done = []
  for part in (slice(half), slice(half, None)):
    y = nn.relu(convolve(kernel[..., part]) * factor[part] + shift[part])
    done.append(ops.depthwise(y, depthwise[..., part], stride, 'tflite'))
  return jnp.concatenate(done, -1)


class SeparableConv(nn.Module):
  """Depthwise 3x3 without bias, pointwise with bias, batch norm, ReLU; shapes as in `Conv`.

  Attributes:
    begun: the depthwise convolution was done before (`then_depthwise`).
  """

  features: int
  stride: int
  lowering: str
  begun: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    glorot = nn.initializers.glorot_uniform()
    depthwise = self.param('depthwise', glorot, (3, 3, 1, x.shape[-1]))
    pointwise = self.param('pointwise', glorot, (1, 1, x.shape[-1], self.features))
    bias = self.param('bias', nn.initializers.zeros, (self.features,))
    if not self.begun:
      x = ops.depthwise(x, depthwise, self.stride, self.lowering)
    return nn.relu(BatchNorm(name='bn')(ops.pointwise(x, pointwise, self.lowering), bias, train))


class EfficientChannelAttention(nn.Module):
  """Weights of the channels from their means (paper, Section 2.2).

  Efficient channel attention is from Wang et al., CVPR 2020; the kernel size is 3.

  [n, h, w, c] to weights [n, 1, 1, c] in (0, 1).
  """

  lowering: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    kernel = self.param('kernel', nn.initializers.glorot_uniform(), (3, 1, 1))
    means = global_mean(x, self.lowering)
    if ops.convolves(self.lowering):
      mixed = lax.conv_general_dilated(
        means[:, :, None], kernel, (1,), 'SAME', dimension_numbers=('NWC', 'WIO', 'NWC')
      )
      mixed = mixed[:, :, 0]
    else:
      padded = jnp.pad(means, ((0, 0), (1, 1)))
      taps = (padded[:, tap : tap + x.shape[-1]] * kernel[tap, 0, 0] for tap in range(3))
      mixed = cast(jax.Array, sum(taps))
    return nn.sigmoid(mixed)[:, None, None, :].astype(x.dtype)


def global_mean(x: jax.Array, lowering: str) -> jax.Array:
  """Mean over frequency and time, [n, h, w, c] to float32 [n, c].

  The `tflite` lowering uses two depthwise convolutions with constant kernels, along frequency and
  along time, for two reasons. The converter turns `x.mean` into SUM and MUL, which its 16-bit
  quantiser breaks without an error. An average pooling gives its means in the quantisation steps
  of its map's largest value, which causes half of the loss of int8.
  """
  if lowering != 'tflite':
    return x.mean((1, 2), dtype=jnp.float32)
  return _mean_by_convolution(_mean_by_convolution(x, (x.shape[1], 1)), (1, x.shape[2]))[:, 0, 0, :]


def frequency_mean(x: jax.Array, lowering: str) -> jax.Array:
  """Mean over frequency, [n, h, w, c] to [n, 1, w, c]; lowerings as of `global_mean`."""
  if lowering != 'tflite':
    return x.mean(1, keepdims=True)
  return _mean_by_convolution(x, (x.shape[1], 1))


def _mean_by_convolution(x: jax.Array, size: tuple[int, int]) -> jax.Array:
  channels = x.shape[-1]
  kernel = jnp.full((*size, 1, channels), 1 / max(size))
  return lax.conv_general_dilated(
    x,
    kernel,
    (1, 1),
    'VALID',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=channels,
  )
