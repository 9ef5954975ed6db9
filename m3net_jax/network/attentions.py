"""Mirror Attention in other forms, with the parameters of the published one (19,651, Keras count).

`--variants=full,m3net_jax.network.attentions:Gated` trains one beside the published form. Maps are
[clips, frequency, time, 64]. S is a separable 3x3 convolution with batch norm and ReLU; h, v and c
are the mirrors of time, of frequency and of both (`mirror`). The published form is

    M = S_mix(S_align([h(x), v(x)]) + x),  E = S_conv(c(x)),  D = ECA(E) * E,  output M * D

and every class says what it changes. `Published` is the check: it equals the variant `full`.

A mirrored map is multiplied before anything is added to it: for the int8 form of `x + flip(x)` the
converter of TensorFlow 2.21 gives the flipped map the scale of the sum without rescaling it.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from m3net_jax.network import layers, mirror, ops

View = Callable[[jax.Array], jax.Array]

BANDS = 4  # of `SubSpectralNorm`


class Separable(nn.Module):
  """`layers.SeparableConv` with other parts: [n, h, w, c] to [n, ceil(h/s), ceil(w/s), 64].

  Attributes:
    lowering: of the convolutions (`ops`).
    stride: s.
    size: of the parameter `depthwise`, rows and columns.
    convolve: the depthwise convolution, called as `ops.depthwise`.
    norm: class of the normalisation, called as `layers.BatchNorm`.
    activation: after the normalisation.
  """

  lowering: str
  stride: int = 1
  size: tuple[int, int] = (3, 3)
  convolve: Callable[..., jax.Array] = ops.depthwise
  norm: Callable[..., nn.Module] = layers.BatchNorm
  activation: View = nn.relu

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    glorot, features = nn.initializers.glorot_uniform(), 64
    depthwise = self.param('depthwise', glorot, (*self.size, 1, x.shape[-1]))
    y = self.convolve(x, depthwise, self.stride, self.lowering)
    pointwise = self.param('pointwise', glorot, (1, 1, y.shape[-1], features))
    bias = self.param('bias', nn.initializers.zeros, (features,))
    y = ops.pointwise(y, pointwise, self.lowering)
    return self.activation(self.norm(name='bn')(y, bias, train))


class SubSpectralNorm(nn.Module):
  """Batch norm with a mean and a variance for each of some bands of frequency.

  Chang et al., ICASSP 2021 (arXiv 2103.13620). A map with fewer rows than bands has one band per
  row.

  Attributes:
    max_bands: number of bands.
    common: whether scale and shift are common to all bands.
  """

  max_bands: int = BANDS
  common: bool = True

  @nn.compact
  def __call__(self, y: jax.Array, bias: jax.Array, train: bool) -> jax.Array:
    rows, channels = y.shape[mirror.FREQUENCY], y.shape[-1:]
    bands = min(self.max_bands, rows)
    member = np.eye(bands, dtype=np.float32)[np.arange(rows) * bands // rows]  # [rows, bands]
    affine = channels if self.common else (bands, *channels)
    scale = self.param('scale', nn.initializers.ones, affine)
    shift = self.param('bias', nn.initializers.zeros, affine)
    dtype, y = y.dtype, y.astype(jnp.float32)
    mean = self.variable('batch_stats', 'mean', jnp.zeros, (bands, *channels))
    variance = self.variable('batch_stats', 'var', jnp.ones, (bands, *channels))
    if train:
      average = lambda values: (member / member.sum(0)).T @ values.mean((0, mirror.TIME))
      band_mean = average(y)
      band_variance = jnp.maximum(average(y * y) - band_mean * band_mean, 0.0)
      if not self.is_initializing():
        moved = lambda old, new: old + (1 - layers.MOMENTUM) * (jax.lax.stop_gradient(new) - old)
        mean.value = moved(mean.value, band_mean + bias)
        variance.value = moved(variance.value, band_variance)
    else:
      band_mean, band_variance = mean.value - bias, variance.value
    factor = scale * jax.lax.rsqrt(band_variance + layers.EPSILON)
    spread = lambda values: (member @ values)[:, None]  # [rows, 1, channels]
    return (y * spread(factor) + spread(shift - band_mean * factor)).astype(dtype)


def identity(x: jax.Array) -> jax.Array:
  return x


def even(flip: View) -> View:
  """The part of a map that a mirror leaves as it is."""
  return lambda x: 0.5 * x + 0.5 * flip(x)


def odd(flip: View) -> View:
  """The part of a map whose sign a mirror changes."""
  return lambda x: 0.5 * x - 0.5 * flip(x)


def mirrored_kernels(x: jax.Array, kernel: jax.Array, stride: int, lowering: str) -> jax.Array:
  """[n, h, w, c] to [n, h, w, 2c]: one kernel, mirrored in time and mirrored in frequency."""
  in_time, in_frequency = jnp.flip(kernel, 1), jnp.flip(kernel, 0)
  return jnp.concatenate(
    [ops.depthwise(x, flipped, stride, lowering) for flipped in (in_time, in_frequency)], -1
  )


def long_kernels(x: jax.Array, kernel: jax.Array, stride: int, lowering: str) -> jax.Array:
  """Nine taps along time for the first half of the channels, along frequency for the second."""
  halves = zip(jnp.split(x, 2, -1), jnp.split(kernel, 2, -1), ((1, 9), (9, 1)))
  return jnp.concatenate(
    [ops.depthwise(y, taps.reshape(*size, 1, -1), stride, lowering) for y, taps, size in halves], -1
  )


class Published(nn.Module):
  """The published form: M * D."""

  lowering: str

  views: ClassVar[tuple[View, ...]] = (mirror.hmf, mirror.vmf)  # of S_align
  diagonal: ClassVar[tuple[View]] = (mirror.csf,)  # of S_conv
  options: ClassVar[dict[str, dict[str, Any]]] = {}  # of `Separable`, by its name

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    separable = lambda name: Separable(self.lowering, name=name, **self.options.get(name, {}))
    views = jnp.concatenate([self.view(flip, x) for flip in self.views], -1)
    m = separable('mix')(separable('align')(views, train) + self.skip(x), train)
    d = separable('conv')(self.view(self.diagonal[0], x), train)
    d = d * layers.EfficientChannelAttention(self.lowering, name='eca')(d)
    return self.join(x, m, d)

  def view(self, flip: View, x: jax.Array) -> jax.Array:
    return flip(x)

  def skip(self, x: jax.Array) -> jax.Array:
    return x

  def join(self, x: jax.Array, m: jax.Array, d: jax.Array) -> jax.Array:
    return m * d


class Gated(Published):
  """Every mirror f becomes (1 - g) * x + g * f(x); g, one per channel, starts at 0: no mirror."""

  def view(self, flip: View, x: jax.Array) -> jax.Array:
    gate = self.param(f'gate_{flip.__name__}', nn.initializers.zeros, x.shape[-1:])
    return (1 - gate) * x + gate * flip(x)


class Residual(Published):
  """x + M * D: a path around the product."""

  def join(self, x: jax.Array, m: jax.Array, d: jax.Array) -> jax.Array:
    return x + m * d


class TimeOnly(Published):
  """Mirrors of time only: S_align([h(x), x]) and S_conv(h(x))."""

  views = (mirror.hmf, identity)
  diagonal = (mirror.hmf,)


class FrequencyOnly(Published):
  """Mirrors of frequency only: S_align([x, v(x)]) and S_conv(v(x))."""

  views = (identity, mirror.vmf)
  diagonal = (mirror.vmf,)


class MirroredKernels(Published):
  """One depthwise kernel k, mirrored twice, in place of mirrored maps: [h(k) * x, v(k) * x].

  k has 3 rows (frequency) and 5 columns (time): a 3x3 kernel for both views would leave the form
  with 3 % fewer parameters. The map of S_conv is not mirrored.
  """

  views = (identity,)
  diagonal = (identity,)
  options = {'align': {'convolve': mirrored_kernels, 'size': (3, 5)}}


class SigmoidProduct(Published):
  """M * sigmoid(D): D, without its ReLU, is a gate between 0 and 1."""

  options = {'conv': {'activation': identity}}

  def join(self, x: jax.Array, m: jax.Array, d: jax.Array) -> jax.Array:
    return m * nn.sigmoid(d)


class SigmoidResidual(SigmoidProduct):
  """x + M * sigmoid(D), D without its ReLU."""

  def join(self, x: jax.Array, m: jax.Array, d: jax.Array) -> jax.Array:
    return x + m * nn.sigmoid(d)


class SubSpectral(Published):
  """Statistics of batch norm in four bands of frequency (`SubSpectralNorm`) in every S.

  The trainable parameters are as many as in the published form; the moving statistics are more.
  """

  options = dict.fromkeys(('align', 'mix', 'conv'), {'norm': SubSpectralNorm})


class HalfSize(Published):
  """S_align and S_conv have stride 2, x is added at every other place: a quarter of the map."""

  options = dict.fromkeys(('align', 'conv'), {'stride': 2})

  def skip(self, x: jax.Array) -> jax.Array:
    return x[:, ::2, ::2]


class LongKernels(Published):
  """No mirrors: S_align's kernels are 1x9 along time on x and 9x1 along frequency on x."""

  views = (identity, identity)
  diagonal = (identity,)
  options = {'align': {'convolve': long_kernels}}


class EvenOdd(Published):
  """S_align sees the parts of x that are even in h and in v, S_conv the part that is odd in c.

  These are (x + h(x)) / 2, (x + v(x)) / 2 and (x - c(x)) / 2.
  """

  views = (even(mirror.hmf), even(mirror.vmf))
  diagonal = (odd(mirror.csf),)


class Blocks(nn.Module):
  """Neither mirrors nor a product: x + S(x), four times."""

  lowering: str

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    for block in range(4):
      x = x + Separable(self.lowering, name=f'block{block}')(x, train)
    return x
