"""What a variant costs: parameters, multiply-adds, operations of a training step. Counted, not measured."""

from typing import NamedTuple

import jax

from m3net_jax.network.models import CHANNELS, M3Net, init
from m3net_jax.network.variants import Architecture

PASSES = 3  # of a training step: forward, gradient by the map, gradient by the kernel; as many multiply-adds each


class Size(NamedTuple):
  """Parameters in Keras's count (`total`: batch norm's moving statistics included), and those trained."""

  total: int
  trainable: int


def size(variant: Architecture, num_classes: int, input_shape: tuple[int, int, int]) -> Size:
  """Counts a variant's parameters without making them."""
  model = M3Net(variant, num_classes, 'conv')
  shapes = jax.eval_shape(lambda key: init(model, key, input_shape), jax.random.key(0))
  count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
  return Size(count(shapes), count(shapes['params']))


def block_sizes(
  variant: Architecture, num_classes: int, input_shape: tuple[int, int, int]
) -> dict[str, int]:
  """Keras's count of every block ('stem', 'sfp1', 'sfp2', 'mfp', 'dfp', 'attention', 'head')."""
  model = M3Net(variant, num_classes, 'conv')
  shapes = jax.eval_shape(lambda key: init(model, key, input_shape), jax.random.key(0))
  blocks: dict[str, int] = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
    blocks[path[1].key] = blocks.get(path[1].key, 0) + leaf.size
  return blocks


def block_macs(
  variant: Architecture, num_classes: int, input_shape: tuple[int, int, int]
) -> dict[str, int]:
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


def step_flops(
  variant: Architecture, num_classes: int, input_shape: tuple[int, int, int], batch_size: int
) -> int:
  """Floating-point operations of a training step of one lane: those of its convolutions and dense layer."""
  return 2 * PASSES * sum(block_macs(variant, num_classes, input_shape).values()) * batch_size
