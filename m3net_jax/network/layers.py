"""The layers of M3Net as Flax modules (paper, Section 2.2 and Figure 2): convolution,
batch norm and ReLU as one; efficient channel attention.

Initial values and constants are Keras's, in which the paper trained: Glorot uniform
kernels, zero biases, epsilon 1e-3. Momentum is 0.9, for Keras's 0.99 lags
behind on a corpus of a few dozen steps an epoch.
"""

from typing import cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from m3net_jax.network import ops

EPSILON = 1e-3
MOMENTUM = 0.9


class BatchNorm(nn.Module):
  """Batch normalisation of a convolution's output [..., channels], before its bias is added.

  A bias in front of batch norm cancels in training, so it only moves the mean that is
  remembered: a pass over the map is saved, and its gradient is exactly zero.
  """

  @nn.compact
  def __call__(self, y: jax.Array, bias: jax.Array, train: bool) -> jax.Array:
    channels = y.shape[-1:]
    scale = self.param('scale', nn.initializers.ones, channels)
    shift = self.param('bias', nn.initializers.zeros, channels)
    mean = self.variable('batch_stats', 'mean', jnp.zeros, channels)
    variance = self.variable('batch_stats', 'var', jnp.ones, channels)
    if train:
      axes = tuple(range(y.ndim - 1))
      of_batch = y.mean(axes)
      spread = jnp.maximum((y * y).mean(axes) - of_batch * of_batch, 0.0)
      if not self.is_initializing():
        mean.value = MOMENTUM * mean.value + (1 - MOMENTUM) * lax.stop_gradient(of_batch + bias)
        variance.value = MOMENTUM * variance.value + (1 - MOMENTUM) * lax.stop_gradient(spread)
    else:
      of_batch, spread = mean.value - bias, variance.value
    factor = scale * lax.rsqrt(spread + EPSILON)
    return y * factor + (shift - of_batch * factor)


class Conv(nn.Module):
  """Dense 3x3 convolution with bias, batch norm, ReLU: [n, h, w, c] to [n, ceil(h/stride), ceil(w/stride), features]."""

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


class SeparableConv(nn.Module):
  """Depthwise 3x3 without bias, pointwise with bias, batch norm, ReLU; shapes as `Conv`."""

  features: int
  stride: int
  lowering: str

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    glorot = nn.initializers.glorot_uniform()
    depthwise = self.param('depthwise', glorot, (3, 3, 1, x.shape[-1]))
    pointwise = self.param('pointwise', glorot, (1, 1, x.shape[-1], self.features))
    bias = self.param('bias', nn.initializers.zeros, (self.features,))
    y = ops.pointwise(
      ops.depthwise(x, depthwise, self.stride, self.lowering), pointwise, self.lowering
    )
    return nn.relu(BatchNorm(name='bn')(y, bias, train))


class EfficientChannelAttention(nn.Module):
  """Weights of the channels from their means (Wang et al., CVPR 2020, with kernel size 3; the paper's Section 2.2).

  [n, h, w, c] to weights [n, 1, 1, c] in (0, 1).
  """

  lowering: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    kernel = self.param('kernel', nn.initializers.glorot_uniform(), (3, 1, 1))
    means = global_mean(x, self.lowering)
    if self.lowering != 'shift':
      mixed = lax.conv_general_dilated(
        means[:, :, None], kernel, (1,), 'SAME', dimension_numbers=('NWC', 'WIO', 'NWC')
      )
      mixed = mixed[:, :, 0]
    else:
      padded = jnp.pad(means, ((0, 0), (1, 1)))
      taps = (padded[:, tap : tap + x.shape[-1]] * kernel[tap, 0, 0] for tap in range(3))
      mixed = cast(jax.Array, sum(taps))
    return nn.sigmoid(mixed)[:, None, None, :]


def global_mean(x: jax.Array, lowering: str) -> jax.Array:
  """Mean over frequency and time, [n, h, w, c] to [n, c].

  In the `tflite` lowering two depthwise convolutions with constant kernels, along frequency and along time: the
  converter makes SUM and MUL of `x.mean`, which its 16-bit quantiser breaks without a word, and a pooling must give its
  means in the steps of its map's largest value, which costs int8 half of what it loses in all.
  """
  if lowering != 'tflite':
    return x.mean((1, 2))
  height, width, channels = x.shape[1:]
  for size in ((height, 1), (1, width)):
    kernel = jnp.full((*size, 1, channels), 1 / max(size))
    x = lax.conv_general_dilated(
      x,
      kernel,
      (1, 1),
      'VALID',
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=channels,
    )
  return x[:, 0, 0, :]
