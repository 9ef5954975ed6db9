"""What no program can go below on this computer's cores: the time of the arithmetic alone, and of the memory alone.

Both rates are measured here and now, on all cores: a 4096 x 4096 float32 matrix product of numpy's
BLAS, and a copy of half a gigabyte. A program is bound by the greater of the two limits.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_prep import workers
from m3net_jax.network import cost, layers, models
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import VARIANTS
from tests.benchmarks.engines import CLASSES, Setting

_SIDE, _COPIED, _REPEATS = 4096, 2**29, 3


class Rates(NamedTuple):
  """FLOP a second, and bytes a second read and written."""

  flops: float
  bytes: float


class Limit(NamedTuple):
  """Seconds for all lanes: of a training step, and of the evaluation of a batch."""

  train: float
  evaluate: float


def measure() -> Rates:
  """The best of a few tries."""
  a = np.ones((_SIDE, _SIDE), np.float32)
  product = np.empty_like(a)
  seconds = _best(lambda: np.matmul(a, a, out=product))
  cores = workers.num_cores()
  source, target = (np.ones(_COPIED // 4, np.float32) for _ in range(2))
  halves = list(zip(np.array_split(target, cores), np.array_split(source, cores)))
  with ThreadPoolExecutor(cores) as pool:
    copied = _best(lambda: list(pool.map(lambda half: np.copyto(*half), halves)))
  return Rates(2 * _SIDE**3 / seconds, 2 * _COPIED / copied)


def of_flops(setting: Setting, rates: Rates) -> Limit:
  """Two FLOP a multiply-add of `cost.block_macs`; backward takes two passes, one by the inputs, one by the weights.

  The stem's inputs are images, which need no gradient. Batch norm, ReLU, Adam and the making of the
  images are not counted.
  """
  step = setting.lanes * cost.step_flops(
    VARIANTS['full'], CLASSES, setting.input_shape, setting.batch
  )
  macs = cost.block_macs(VARIANTS['full'], CLASSES, setting.input_shape)
  stem = 2 * macs['stem'] * setting.lanes * setting.batch
  return Limit((step - stem) / rates.flops, step / cost.PASSES / rates.flops)


def of_memory(setting: Setting, rates: Rates) -> Limit:
  """Every map read and written once forward and twice backward (itself and its gradient), at the rate of a copy.

  A map is the image, or what leaves a convolution with its batch norm and ReLU, or Mirror Attention, in float32:
  what is between a depthwise and a pointwise convolution, and before a batch norm, is thought to stay in the cache.
  Maps so small that all of them stay there, of a small input in small batches, can go faster than this.
  """
  moved = 2 * 4 * map_elements(setting.input_shape) * setting.lanes * setting.batch
  return Limit(3 * moved / rates.bytes, moved / rates.bytes)


def map_elements(input_shape: tuple[int, int, int]) -> int:
  """Elements of all maps of one clip."""
  net = M3Net(VARIANTS['full'], CLASSES, 'conv')
  is_map = lambda module, _: isinstance(module, (layers.Conv, layers.SeparableConv))
  apply = lambda x: net.apply(
    models.init(net, jax.random.key(0), input_shape), x, capture_intermediates=is_map
  )
  (_, out), caught = jax.eval_shape(apply, jnp.zeros((1, *input_shape)))
  return int(np.prod(input_shape)) + sum(leaf.size for leaf in jax.tree.leaves((out['ma'], caught)))


def _best(work) -> float:
  seconds = []
  for _ in range(1 + _REPEATS):
    begun = time.perf_counter()
    work()
    seconds.append(time.perf_counter() - begun)
  return min(seconds)
