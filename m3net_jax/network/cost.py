"""The cost of a variant: parameters, multiply-adds, operations per training step.

All figures are counted, not measured.
"""

import math
from collections import Counter
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import jaxprs_in_params

from m3net_jax.network.models import M3Net, init
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

  The blocks are 'stem', 'sfp1', 'sfp2', 'mfp', 'dfp', 'attention' and 'head', or 'network' if the
  variant replaces all of it.
  """
  model = M3Net(variant, num_classes, 'conv')
  shapes = jax.eval_shape(lambda key: init(model, key, input_shape), jax.random.key(0))
  blocks: dict[str, int] = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
    blocks[path[1].key] = blocks.get(path[1].key, 0) + leaf.size
  return blocks


def macs(variant: Architecture, num_classes: int, input_shape: tuple[int, int, int]) -> int:
  """Counts the multiply-adds for one clip; see `block_macs`."""
  return sum(block_macs(variant, num_classes, input_shape).values())


def block_macs(
  variant: Architecture, num_classes: int, input_shape: tuple[int, int, int]
) -> dict[str, int]:
  """Counts the multiply-adds per block for one clip, of any network, from its traced program.

  Counted are convolutions and matrix products, at every place of their output, padding included.
  Not counted are sums, means, batch norm, which folds into the convolution before it, and
  elementwise products (the Hadamard product and the channel weights).

  Returns:
    As `block_sizes`, in the order of the program; a block without multiply-adds is absent.
  """
  model = M3Net(variant, num_classes, 'conv')
  shapes = jax.eval_shape(lambda key: init(model, key, input_shape), jax.random.key(0))
  program = jax.make_jaxpr(lambda variables, image: model.apply(variables, image)[0])(
    shapes, jax.ShapeDtypeStruct((1, *input_shape), np.float32)
  )
  counts: Counter[str] = Counter()
  _count(program.jaxpr, '', 1, counts)
  return dict(counts)


def _count(program: Any, block: str, times: int, counts: Counter[str]) -> None:
  """Adds the multiply-adds of a program that runs `times` times to those of its blocks."""
  for step in program.eqns:
    path = str(step.source_info.name_stack).split('/')
    own = block or (path[1] if len(path) > 1 else '')
    if step.primitive.name == 'conv_general_dilated':
      kernel = step.invars[1].aval.shape
      outputs = kernel[step.params['dimension_numbers'].rhs_spec[0]]
      counts[own] += times * math.prod(step.outvars[0].aval.shape) * math.prod(kernel) // outputs
    elif step.primitive.name == 'dot_general':
      left = step.invars[0].aval.shape
      contracted = math.prod(left[axis] for axis in step.params['dimension_numbers'][0][0])
      counts[own] += times * math.prod(step.outvars[0].aval.shape) * contracted
    elif step.primitive.name == 'cond':
      sides = []
      for branch in step.params['branches']:
        side: Counter[str] = Counter()
        _count(branch.jaxpr, own, times, side)
        sides.append(side)
      counts.update(max(sides, key=lambda side: sum(side.values())))
    else:
      repeated = times * step.params.get('length', 1) if step.primitive.name == 'scan' else times
      for inner in jaxprs_in_params(step.params):
        _count(inner, own, repeated, counts)


def step_flops(
  variant: Architecture, num_classes: int, input_shape: tuple[int, int, int], batch_size: int
) -> int:
  """Floating-point operations of one training step of one lane, two per multiply-add.

  `block_macs` says which layers are counted.
  """
  return 2 * PASSES * macs(variant, num_classes, input_shape) * batch_size
