"""The network (paper, Section 2): shallow feature processing, Mirror Attention, head.

An `Architecture` says which parts a variant has; `Switches` say which mirrors and channel weights
are on.
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import errors
from flax import linen as nn

from data_prep.errors import UserError
from m3net_jax.network import layers, mirror, ops
from m3net_jax.network.variants import Architecture, Switches

CHANNELS = 64
STEM_PARTS = 2


class MirrorFeatureProcessing(nn.Module):
  """MFP (equation 4): concatenates both mirrors, aligns them, adds the map, convolves again."""

  lowering: str

  @nn.compact
  def __call__(self, x: jax.Array, switches: Switches, train: bool) -> jax.Array:
    views = jnp.concatenate(
      [mirror.where(switches.hmf, mirror.hmf, x), mirror.where(switches.vmf, mirror.vmf, x)], -1
    )
    aligned = layers.SeparableConv(x.shape[-1], 1, self.lowering, name='align')(views, train)
    return layers.SeparableConv(x.shape[-1], 1, self.lowering, name='mix')(aligned + x, train)


class DiagonalFeatureProcessing(nn.Module):
  """DFP (equation 6): convolves the centre-symmetric flip and weights its channels by ECA.

  Returns [n, h, w, c] and the weights [n, 1, 1, c], which are 1 if ECA is off.
  """

  lowering: str

  @nn.compact
  def __call__(self, x: jax.Array, switches: Switches, train: bool) -> tuple[jax.Array, jax.Array]:
    y = mirror.where(switches.csf, mirror.csf, x)
    y = layers.SeparableConv(x.shape[-1], 1, self.lowering, name='conv')(y, train)
    if switches.eca is False:
      return y, jnp.ones((len(x), 1, 1, x.shape[-1]), x.dtype)
    weights = layers.EfficientChannelAttention(self.lowering, name='eca')(y)
    if switches.eca is not True:
      weights = jnp.where(switches.eca, weights, 1.0)
    return y * weights, weights


class M3Net(nn.Module):
  """The network (paper, Section 2): images to logits and named maps.

  Images are [n, height, width, channels], logits [n, classes]. The maps are `stem`, `sfp` (the
  input of Mirror Attention), `mfp`, `dfp`, `eca` (channel weights), `ma` and `pooled`, without
  those of parts that the variant does not have (nor `stem` in 'tflite'); a user's own network has
  none.

  Attributes:
    architecture: the variant.
    num_classes: outputs.
    lowering: of the convolutions, one of `options.LOWERINGS` or 'tflite'.
    precision: one of `options.PRECISIONS`. With bfloat16 the maps between layers are of it;
      parameters, batch statistics, their gradients and logits stay float32. The other two are about
      the matrix products of an accelerator, so they concern who compiles the network.
  """

  architecture: Architecture
  num_classes: int
  lowering: str
  precision: str = 'float32'

  @nn.compact
  def __call__(
    self, images: jax.Array, train: bool = False, switches: Switches | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    parts = self.architecture
    out: dict[str, jax.Array] = {}
    if self.precision == 'bfloat16':
      images = images.astype(jnp.bfloat16)
    if parts.network is not None:
      values = _constructor_values(parts.network, self.lowering)
      whole = parts.network(num_classes=self.num_classes, name='network', **values)
      return _call_user_network(whole, images, train), out
    switches = parts.switches if switches is None else switches
    if self.lowering == 'tflite' and parts.stem_stride == 2 and not self.is_initializing():
      x = self._features_in_parts(images)
    else:
      x = out['stem'] = layers.Conv(
        parts.stem_channels, parts.stem_stride, self.lowering, name='stem'
      )(images, train)
      x = layers.SeparableConv(CHANNELS, 2, self.lowering, name='sfp1')(x, train)
      if parts.sfp2:
        x = layers.SeparableConv(CHANNELS, 4 // parts.stem_stride, self.lowering, name='sfp2')(
          x, train
        )
    out['sfp'] = x
    if parts.attention is not None:
      values = _constructor_values(parts.attention, self.lowering)
      x = _call_user_module(parts.attention(name='attention', **values), x, train)
    else:
      branches = []
      if parts.mfp:
        out['mfp'] = MirrorFeatureProcessing(self.lowering, name='mfp')(x, switches, train)
        branches.append(out['mfp'])
      elif parts.dfp:
        branches.append(x)  # Table 4, without MFP: X * X_DFP
      if parts.dfp:
        out['dfp'], out['eca'] = DiagonalFeatureProcessing(self.lowering, name='dfp')(
          x, switches, train
        )
        branches.append(out['dfp'])
      if len(branches) == 2:
        x = branches[0] * branches[1]  # equation 7
      elif branches:
        x = branches[0]
    out['ma'] = x
    out['pooled'] = layers.global_mean(x, self.lowering)
    return nn.Dense(self.num_classes, kernel_init=nn.initializers.glorot_uniform(), name='head')(
      out['pooled']
    ), out

  def _features_in_parts(self, images: jax.Array) -> jax.Array:
    """The shallow feature processing of a trained network with a stem of stride 2, for firmware.

    Its maps are the largest ones, so they are computed in halves of their channels.
    """
    params, statistics = self.variables['params'], self.variables['batch_stats']
    convolve = lambda kernel: ops.conv(images, kernel, 2, self.lowering)
    stem, sfp1, last = params['stem'], params['sfp1'], 'sfp1'
    x = layers.then_depthwise(
      convolve, stem['kernel'], stem, statistics['stem'], sfp1['depthwise'], 2
    )
    if self.architecture.sfp2:
      last, halved = 'sfp2', x
      mix = lambda kernel: ops.pointwise(halved, kernel, self.lowering)
      x = layers.then_depthwise(
        mix, sfp1['pointwise'], sfp1, statistics['sfp1'], params['sfp2']['depthwise'], 2
      )
    return layers.SeparableConv(CHANNELS, 1, self.lowering, begun=True, name=last)(x, False)


def _constructor_values(module: Callable[..., nn.Module], lowering: str) -> dict[str, str]:
  """The lowering, for a module with a field of this name."""
  return {'lowering': lowering} if 'lowering' in getattr(module, '__dataclass_fields__', {}) else {}


def _call_user_network(module: nn.Module, images: jax.Array, train: bool) -> jax.Array:
  logits = _call(module, images, train)
  expected = (len(images), module.num_classes)
  if getattr(logits, 'shape', None) != expected:
    raise UserError(
      f'--variants: {type(module).__name__} returned '
      f'{getattr(logits, "shape", type(logits).__name__)} for images {images.shape}; '
      f'return logits {expected}, [clips, classes]'
    )
  return logits


def _call(module: nn.Module, x: jax.Array, train: bool) -> Any:
  takes_train = 'train' in inspect.signature(type(module).__call__).parameters
  try:
    return module(x, train=train) if takes_train else module(x)
  except errors.InvalidRngError as error:
    raise UserError(
      f'--variants: {type(module).__name__} draws random numbers although it is not trained: give '
      '__call__ a parameter train, and nn.Dropout deterministic=not train'
    ) from error


def _call_user_module(module: nn.Module, x: jax.Array, train: bool) -> jax.Array:
  y = _call(module, x, train)
  if getattr(y, 'ndim', None) != 4:
    raise UserError(
      f'--variants: {type(module).__name__} returned '
      f'{getattr(y, "shape", type(y).__name__)} for a map {x.shape}; '
      'return one map [clips, height, width, channels]'
    )
  return y


def init(model: M3Net, key: jax.Array, input_shape: tuple[int, int, int]) -> dict[str, Any]:
  """Initial variables: 'params' and 'batch_stats'.

  Args:
    model: the network.
    key: random key of the initial values.
    input_shape: height, width and channels of the images.

  Raises:
    UserError: a user's module returns another shape, or draws random numbers although `train` is
      False.
  """
  images = jnp.zeros((1, *input_shape))
  variables = dict(model.init(key, images, train=False))
  if model.architecture.attention is not None or model.architecture.network is not None:
    # `init` has a key; at inference there is none.
    jax.eval_shape(lambda values: model.apply(values, images, train=False), variables)
  return variables
