"""Three published networks for keyword spotting, to compare M3Net with on the same recordings.

`--variants=full,plain,ds_cnn,bc_resnet_1,tc_resnet_8` trains them in one study. Images are [clips,
frequency, time, channels], as for M3Net; each class says how it is fitted to them. Initial values
and batch norm are M3Net's (`layers`), and no dropout is used, so that the recipe is the same.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from m3net_jax.network import layers, ops
from m3net_jax.network.attentions import SubSpectralNorm, identity

Pair = tuple[int, int]
_DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


class Dense(nn.Module):
  """Dense convolution without bias, batch norm, activation.

  [n, h, w, c] to [n, ceil(h / rows), ceil(w / columns), features].

  Attributes:
    size: of the kernel, rows and columns.
    strides: rows and columns.
    bias: whether the convolution has one.
  """

  features: int
  size: Pair
  lowering: str
  strides: Pair = (1, 1)
  activation: Callable[[jax.Array], jax.Array] = nn.relu
  bias: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    kernel = self.param(
      'kernel', nn.initializers.glorot_uniform(), (*self.size, x.shape[-1], self.features)
    )
    bias = self.param('bias', nn.initializers.zeros, (self.features,)) if self.bias else 0.0
    y = dense(x, kernel, self.strides, self.lowering)
    return self.activation(layers.BatchNorm(name='bn')(y, jnp.asarray(bias), train))


class Depthwise(nn.Module):
  """Depthwise convolution, normalisation, activation; shapes as in `Dense`, features kept."""

  size: Pair
  lowering: str
  strides: Pair = (1, 1)
  dilation: int = 1
  norm: Callable[..., nn.Module] = layers.BatchNorm
  activation: Callable[[jax.Array], jax.Array] = nn.relu
  bias: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    kernel = self.param('kernel', nn.initializers.glorot_uniform(), (*self.size, 1, x.shape[-1]))
    bias = self.param('bias', nn.initializers.zeros, x.shape[-1:]) if self.bias else 0.0
    y = depthwise(x, kernel, self.strides, self.dilation, self.lowering)
    return self.activation(self.norm(name='bn')(y, jnp.asarray(bias), train))


class DsCnn(nn.Module):
  """DS-CNN, size S, in the form of MLPerf Tiny: 24,908 parameters with 12 classes (Keras count).

  Zhang et al., Hello Edge, arXiv 1711.07128, Table 7 and Section 4.5; Banbury et al., MLPerf Tiny
  Benchmark, NeurIPS 2021 (datasets and benchmarks), Section 4.1: a convolution of 10 (time) x 4
  (frequency) with stride 2, four depthwise separable blocks of 64 channels, mean, dense layer.
  Theirs sees 49 frames of 10 coefficients. Here the first convolution has the stride along
  frequency that leaves about as many rows as there (5 to 8), and a kernel as much higher, which
  has more parameters.
  """

  num_classes: int
  lowering: str

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    stride = max(2, round(images.shape[1] / 8))
    size = (2 * stride, 10)
    x = Dense(64, size, self.lowering, (stride, 2), bias=True, name='stem')(images, train)
    for block in range(4):
      x = Depthwise((3, 3), self.lowering, bias=True, name=f'depthwise{block}')(x, train)
      x = Dense(64, (1, 1), self.lowering, bias=True, name=f'pointwise{block}')(x, train)
    return _head(self.num_classes)(layers.global_mean(x, self.lowering))


class TcResNet8(nn.Module):
  """TC-ResNet8: 66,000 parameters with 12 classes and 40 coefficients.

  Choi et al., Temporal Convolution for Real-time Keyword Spotting on Mobile Devices, Interspeech
  2019, Figure 2 and Table 1. Frequencies are channels; convolutions are along time, 3 frames first,
  then 9, in three residual blocks of 24, 32 and 48 channels with stride 2.
  """

  num_classes: int
  lowering: str

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    clips, height, width, depth = images.shape
    x = images.transpose(0, 2, 1, 3).reshape(clips, 1, width, height * depth)
    x = Dense(16, (1, 3), self.lowering, name='stem')(x, train)
    for block, channels in enumerate((24, 32, 48)):
      part = lambda name, size, stride=1, activation=nn.relu, block=block, channels=channels: Dense(
        channels, (1, size), self.lowering, (1, stride), activation, name=f'{name}{block}'
      )
      around = part('around', 1, 2)(x, train)
      y = part('first', 9, 2)(x, train)
      x = nn.relu(part('second', 9, 1, identity)(y, train) + around)
    return _head(self.num_classes, bias=False)(layers.global_mean(x, self.lowering))


class BcResNet1(nn.Module):
  """BC-ResNet-1: 9,232 trainable parameters with 12 classes.

  Kim et al., Broadcasted Residual Learning for Efficient Keyword Spotting, Interspeech 2021
  (arXiv 2106.04140), Tables 1 and 2. A block convolves along frequency with sub-spectral
  normalisation, then the mean over frequency along time, and adds the result to every frequency.
  Theirs sees 40 filters, 5 bands; here the number of filters is that of the image.
  """

  num_classes: int
  lowering: str

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    x = Dense(16, (5, 5), self.lowering, (2, 1), name='stem')(images, train)
    for stage, (blocks, channels, stride) in enumerate(
      ((2, 8, 1), (2, 12, 2), (4, 16, 2), (4, 20, 1))
    ):
      for block in range(blocks):
        x = _Broadcasted(
          channels,
          self.lowering,
          stride if block == 0 else 1,
          2**stage,
          name=f'stage{stage}_{block}',
        )(x, train)
    kernel = self.param('last', nn.initializers.glorot_uniform(), (5, 5, 1, x.shape[-1]))
    x = depthwise(x, kernel, (1, 1), 1, self.lowering)
    if x.shape[1] > 4:
      x = x[:, 2:-2]  # no padding along frequency
    x = Dense(32, (1, 1), self.lowering, name='widen')(x, train)
    return _head(self.num_classes)(layers.global_mean(x, self.lowering))


class _Broadcasted(nn.Module):
  """The block of BC-ResNet: [n, h, w, c] to [n, ceil(h / stride), w, channels]."""

  channels: int
  lowering: str
  stride: int
  dilation: int

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    skip = x
    if x.shape[-1] != self.channels:
      x = Dense(self.channels, (1, 1), self.lowering, name='change')(x, train)
    by_frequency = Depthwise(
      (3, 1),
      self.lowering,
      (self.stride, 1),
      norm=lambda name: SubSpectralNorm(5, common=False, name=name),
      activation=identity,
      name='frequency',
    )(x, train)
    y = layers.frequency_mean(by_frequency, self.lowering)
    y = Depthwise((1, 3), self.lowering, dilation=self.dilation, activation=nn.silu, name='time')(
      y, train
    )
    kernel = self.param(
      'mix', nn.initializers.glorot_uniform(), (1, 1, self.channels, self.channels)
    )
    y = ops.pointwise(y, kernel, self.lowering) + by_frequency
    return nn.relu(y + skip if skip.shape == y.shape else y)


def _head(num_classes: int, bias: bool = True) -> nn.Dense:
  glorot = nn.initializers.glorot_uniform()
  return nn.Dense(num_classes, use_bias=bias, kernel_init=glorot, name='head')


def dense(x: jax.Array, kernel: jax.Array, strides: Pair, lowering: str) -> jax.Array:
  """Dense convolution, SAME as in TensorFlow.

  [n, h, w, c] and [rows, columns, c, d] to [n, ceil(h / strides[0]), ceil(w / strides[1]), d].
  """
  if ops.convolves(lowering):
    return lax.conv_general_dilated(
      x, kernel.astype(x.dtype), strides, 'SAME', dimension_numbers=_DIMENSIONS
    )
  views = _views(x, kernel.shape[:2], strides, 1)
  return ops.matmul(jnp.concatenate(views, -1), kernel.reshape(-1, kernel.shape[-1]))


def depthwise(
  x: jax.Array, kernel: jax.Array, strides: Pair, dilation: int, lowering: str
) -> jax.Array:
  """Depthwise convolution with [rows, columns, 1, c]; shapes as in `dense`.

  Args:
    dilation: places from one tap to the next.
  """
  if ops.convolves_depthwise(lowering):
    return lax.conv_general_dilated(
      x,
      kernel.astype(x.dtype),
      strides,
      'SAME',
      rhs_dilation=(dilation, dilation),
      dimension_numbers=_DIMENSIONS,
      feature_group_count=x.shape[-1],
    )
  if strides == (1, 1) and dilation == 1:
    return ops.depthwise(x, kernel, 1, lowering)
  taps = kernel.reshape(-1, kernel.shape[-1]).astype(x.dtype)
  views = _views(x, kernel.shape[:2], strides, dilation)
  return sum(view * tap for view, tap in zip(views, taps))


def _views(x: jax.Array, size: Sequence[int], strides: Pair, dilation: int) -> list[jax.Array]:
  """What each tap of a kernel sees, in row order, [n, h', w', c] each."""
  spans = [dilation * (taps - 1) + 1 for taps in size]
  outputs = [-(-length // stride) for length, stride in zip(x.shape[1:3], strides)]
  padding = [ops.same_padding(*sizes) for sizes in zip(x.shape[1:3], strides, spans)]
  padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
  ends = [stride * (count - 1) + 1 for stride, count in zip(strides, outputs)]
  return [
    padded[
      :,
      row * dilation : row * dilation + ends[0] : strides[0],
      column * dilation : column * dilation + ends[1] : strides[1],
    ]
    for row in range(size[0])
    for column in range(size[1])
  ]
