"""The cost of a variant: parameters, multiply-adds, operations per training step.

All figures are counted, not measured.
"""

from typing import NamedTuple

import jax

from m3net_jax.network.models import CHANNELS, M3Net, init
from m3net_jax.network.variants import Architecture

# Passes of a training step, with equal multiply-adds: forward, gradient with respect to the map,
# gradient with respect to the kernel.
PASSES = 3


class Size(NamedTuple):
  """Number of parameters.

  Attributes:
    total: as Keras counts them, with the moving statistics of batch norm.
    trainable: without the moving statistics.
  """

  total: int
  trainable: int


def size(variant: Architecture, num_classes: int, input_shape: tuple[int, int, int]) -> Size:
  """Counts a variant's parameters without creating them."""
  model = M3Net(variant, num_classes, 'conv')
  shapes = jax.eval_shape(lambda key: init(model, key, input_shape), jax.random.key(0))
  count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
  return Size(count(shapes), count(shapes['params']))


def block_sizes(
  variant: Architecture, num_classes: int, input_shape: tuple[int, int, int]
) -> dict[str, int]:
  """Counts the parameters per block as Keras does.

  The blocks are 'stem', 'sfp1', 'sfp2', 'mfp', 'dfp', 'attention' and 'head'.
  """
  model = M3Net(variant, num_classes, 'conv')
  shapes = jax.eval_shape(lambda key: init(model, key, input_shape), jax.random.key(0))
  blocks: dict[str, int] = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
    blocks[path[1].key] = blocks.get(path[1].key, 0) + leaf.size
  return blocks


def block_macs(
  variant: Architecture, num_classes: int, input_shape: tuple[int, int, int]
) -> dict[str, int]:
  """Counts the multiply-adds per block for one clip: convolutions, ECA and the dense layer.

  Not counted are batch norm, which folds into the convolution before it, and elementwise products
  (the Hadamard product and the channel weights). 'attention' is absent: the multiply-adds of a
  user's own module are unknown.
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


def step_flops(
  variant: Architecture, num_classes: int, input_shape: tuple[int, int, int], batch_size: int
) -> int:
  """Floating-point operations of one training step of one lane, two per multiply-add.

  `block_macs` says which layers are counted.
  """
  return 2 * PASSES * sum(block_macs(variant, num_classes, input_shape).values()) * batch_size
