"""M3Net and its variants (paper, Section 2 and Tables 3 to 5), and what one may put in the place of Mirror Attention.

A variant is an `Architecture`; those that differ only in which mirrors and channel weights
are on have the same parameters, and run as one compiled program with `Switches` as lane values.
"""
import dataclasses
import importlib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from data_prep.cli import UserError
from m3net_jax import layers, mirror

STEM_CHANNELS = 32
CHANNELS = 64
PASSES = 3  # of a training step: forward, gradient by the map, gradient by the kernel; as many multiply-adds each


class Switches(NamedTuple):
  """What is on in Mirror Attention: booleans, or a lane's values (traced scalars)."""
  hmf: bool | jax.Array = True
  vmf: bool | jax.Array = True
  csf: bool | jax.Array = True
  eca: bool | jax.Array = True


@dataclasses.dataclass(frozen=True)
class Architecture:
  """What a variant has of the whole network; `attention` takes the place of Mirror Attention."""
  stem_channels: int = STEM_CHANNELS
  stem_stride: int = 2  # or 4: what enters Mirror Attention is as large, for SFP 2 has a stride of 1 then
  sfp2: bool = True
  mfp: bool = True
  dfp: bool = True
  switches: Switches = Switches()
  attention: Callable[[], nn.Module] | None = None

  @property
  def program(self) -> 'Architecture':
    """Of the same parameter shapes with everything switched on: variants of equal `program` compile once."""
    return dataclasses.replace(self, switches=Switches()) if self.mfp and self.dfp else self


VARIANTS = {
    'full': Architecture(),
    # Table 3: without Mirror Attention, and with half of shallow feature processing.
    'no_ma': Architecture(mfp=False, dfp=False),
    'no_sfp': Architecture(sfp2=False),
    # Table 4: without one of the branches.
    'no_mfp': Architecture(mfp=False),
    'no_dfp': Architecture(dfp=False),
    # Table 5, columns 1 to 4: the mirrors and ECA put back one after another.
    'plain': Architecture(switches=Switches(False, False, False, False)),
    'eca': Architecture(switches=Switches(False, False, False, True)),
    'eca_csf': Architecture(switches=Switches(False, False, True, True)),
    'eca_csf_vmf': Architecture(switches=Switches(False, True, True, True)),
    # Not the paper's: the stem's output is what takes most memory on a microcontroller; a half of it, and a quarter.
    'stem16': Architecture(stem_channels=16),
    'stride4': Architecture(stem_stride=4),
}


def architecture(variant: str) -> Architecture:
  """The architecture of a variant's name, or of `module.path:Name`, a Flax module of the user's own.

  Raises:
    UserError: the name is unknown, or the module cannot be imported or is no Flax module.
  """
  if variant in VARIANTS:
    return VARIANTS[variant]
  path, colon, name = variant.partition(':')
  if not colon:
    raise UserError(f'--variants={variant}: unknown; give {", ".join(VARIANTS)} or module.path:Name of your own')
  try:
    module = getattr(importlib.import_module(path), name)
  except Exception as error:  # the file is the user's own, and may raise anything
    why = ' '.join(f'{type(error).__name__}: {error}'.split())
    raise UserError(f'--variants={variant}: cannot be imported ({why}); give module.path:Name as Python finds it '
                    'from this folder') from error
  if not (isinstance(module, type) and issubclass(module, nn.Module)):
    raise UserError(f'--variants={variant}: is no Flax module; make {name} a subclass of flax.linen.Module')
  return Architecture(attention=module)


class MirrorFeatureProcessing(nn.Module):
  """MFP (equation 4): both mirrors side by side, aligned, added to the map, convolved again."""
  lowering: str

  @nn.compact
  def __call__(self, x: jax.Array, switches: Switches, train: bool) -> jax.Array:
    views = jnp.concatenate([mirror.where(switches.hmf, mirror.hmf, x), mirror.where(switches.vmf, mirror.vmf, x)], -1)
    aligned = layers.SeparableConv(x.shape[-1], 1, self.lowering, name='align')(views, train)
    return layers.SeparableConv(x.shape[-1], 1, self.lowering, name='mix')(aligned + x, train)


class DiagonalFeatureProcessing(nn.Module):
  """DFP (equation 6): the centre-symmetric flip, convolved, its channels weighted by ECA.

  Returns [n, h, w, c] and the weights [n, 1, 1, c], which are 1 where ECA is off.
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
  """The network: images [n, height, width, channels] to logits [n, classes] and its named maps.

  Attributes:
    architecture: the variant.
    num_classes: outputs.
    lowering: of the convolutions, one of `ops.LOWERINGS` or 'tflite'.

  The maps: `stem`, `sfp` (what enters Mirror Attention), `mfp`, `dfp`, `eca` (channel weights), `ma`, `pooled`; those
  that a variant does not have are absent.
  """
  architecture: Architecture
  num_classes: int
  lowering: str

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False,
               switches: Switches | None = None) -> tuple[jax.Array, dict[str, jax.Array]]:
    parts, out = self.architecture, {}
    switches = parts.switches if switches is None else switches
    x = out['stem'] = layers.Conv(parts.stem_channels, parts.stem_stride, self.lowering, name='stem')(images, train)
    x = layers.SeparableConv(CHANNELS, 2, self.lowering, name='sfp1')(x, train)
    if parts.sfp2:
      x = layers.SeparableConv(CHANNELS, 4 // parts.stem_stride, self.lowering, name='sfp2')(x, train)
    out['sfp'] = x
    if parts.attention is not None:
      x = _call_own(parts.attention(name='attention'), x, train)
    else:
      branches = []
      if parts.mfp:
        out['mfp'] = MirrorFeatureProcessing(self.lowering, name='mfp')(x, switches, train)
        branches.append(out['mfp'])
      elif parts.dfp:
        branches.append(x)  # Table 4, without MFP: X * X_DFP
      if parts.dfp:
        out['dfp'], out['eca'] = DiagonalFeatureProcessing(self.lowering, name='dfp')(x, switches, train)
        branches.append(out['dfp'])
      if len(branches) == 2:
        x = branches[0] * branches[1]  # equation 7
      elif branches:
        x = branches[0]
    out['ma'] = x
    out['pooled'] = layers.global_mean(x, self.lowering)
    return nn.Dense(self.num_classes, kernel_init=nn.initializers.glorot_uniform(), name='head')(out['pooled']), out


def _call_own(module: nn.Module, x: jax.Array, train: bool) -> jax.Array:
  takes_train = 'train' in inspect.signature(type(module).__call__).parameters
  y = module(x, train=train) if takes_train else module(x)
  if getattr(y, 'ndim', None) != 4:
    raise UserError(f'--variants: {type(module).__name__} returned {getattr(y, "shape", type(y).__name__)} for a map '
                    f'{x.shape}; return one map [clips, height, width, channels]')
  return y


class Size(NamedTuple):
  """Parameters in Keras's count (`total`: batch norm's moving statistics included), and those trained."""
  total: int
  trainable: int


def init(model: M3Net, key: jax.Array, input_shape: tuple[int, int, int]) -> dict[str, Any]:
  """Initial variables ('params', 'batch_stats') for images of `input_shape` (height, width, channels)."""
  return model.init(key, jnp.zeros((1, *input_shape)), train=False)


def size(variant: Architecture, num_classes: int, input_shape: tuple[int, int, int]) -> Size:
  """Counts a variant's parameters without making them."""
  model = M3Net(variant, num_classes, 'conv')
  shapes = jax.eval_shape(lambda key: init(model, key, input_shape), jax.random.key(0))
  count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
  return Size(count(shapes), count(shapes['params']))


def block_sizes(variant: Architecture, num_classes: int, input_shape: tuple[int, int, int]) -> dict[str, int]:
  """Keras's count of every block ('stem', 'sfp1', 'sfp2', 'mfp', 'dfp', 'attention', 'head')."""
  model = M3Net(variant, num_classes, 'conv')
  shapes = jax.eval_shape(lambda key: init(model, key, input_shape), jax.random.key(0))
  blocks: dict[str, int] = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
    blocks[path[1].key] = blocks.get(path[1].key, 0) + leaf.size
  return blocks


def block_macs(variant: Architecture, num_classes: int, input_shape: tuple[int, int, int]) -> dict[str, int]:
  """Multiply-adds of every block for one clip: those of its convolutions, ECA and the dense layer.

  Batch norm folds into the convolution before it; the Hadamard product and the channel weights are elementwise
  and counted with neither convention, so are left out. Of a user's own module they are not known: 'attention' is absent.
  """
  strided = lambda height, width, stride: (-(-height // stride), -(-width // stride))
  height, width = strided(*input_shape[:2], variant.stem_stride)
  blocks = {'stem': height * width * 9 * input_shape[2] * variant.stem_channels}
  separable = lambda inputs: height * width * inputs * (9 + CHANNELS)
  height, width = strided(height, width, 2)
  blocks['sfp1'] = separable(variant.stem_channels)
  if variant.sfp2:
    height, width = strided(height, width, 4 // variant.stem_stride)
    blocks['sfp2'] = separable(CHANNELS)
  if variant.attention is None and variant.mfp:
    blocks['mfp'] = separable(2 * CHANNELS) + separable(CHANNELS)
  if variant.attention is None and variant.dfp:
    blocks['dfp'] = separable(CHANNELS) + (3 * CHANNELS if variant.switches.eca else 0)
  blocks['head'] = CHANNELS * num_classes
  return blocks


def step_flops(variant: Architecture, num_classes: int, input_shape: tuple[int, int, int], batch_size: int) -> int:
  """Floating-point operations of a training step of one lane: those of its convolutions and dense layer."""
  return 2 * PASSES * sum(block_macs(variant, num_classes, input_shape).values()) * batch_size
