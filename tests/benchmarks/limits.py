"""The least time of a training step on this computer: of the arithmetic, and of the memory traffic.

Both rates are measured on all cores: with a 4096 x 4096 float32 matrix product of numpy's BLAS, and
with a copy of half a gigabyte. The greater limit applies.
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
  """FLOP per second, and bytes read and written per second."""

  flops: float
  bytes: float


class Limit(NamedTuple):
  """Seconds of a training step and of the evaluation of a batch, for all lanes."""

  train: float
  evaluate: float


def measure() -> Rates:
  """Measures both rates; the best of a few tries."""
  a = np.ones((_SIDE, _SIDE), np.float32)
  product = np.empty_like(a)
  seconds = _best(lambda: np.matmul(a, a, out=product))
  cores = workers.num_cores()
  source, target = (np.ones(_COPIED // 4, np.float32) for _ in range(2))
  halves = list(zip(np.array_split(target, cores), np.array_split(source, cores)))
  with ThreadPoolExecutor(cores) as pool:
    copied = _best(lambda: list(pool.map(lambda half: np.copyto(*half), halves)))
  return Rates(2 * _SIDE**3 / seconds, 2 * _COPIED / copied)


def flop_limit(setting: Setting, rates: Rates) -> Limit:
  """The time of the arithmetic: two FLOP per multiply-add of `cost.block_macs`.

  The backward pass has two parts, the gradients with respect to inputs and weights; the stem has no
  gradient with respect to its input, the images. Batch norm, ReLU, Adam and the conversion to
  images are not counted.
  """
  step = setting.lanes * cost.step_flops(
    VARIANTS['full'], CLASSES, setting.input_shape, setting.batch
  )
  macs = cost.block_macs(VARIANTS['full'], CLASSES, setting.input_shape)
  stem = 2 * macs['stem'] * setting.lanes * setting.batch
  return Limit((step - stem) / rates.flops, step / cost.PASSES / rates.flops)


def memory_limit(setting: Setting, rates: Rates) -> Limit:
  """The time of the memory traffic, at the rate of a copy.

  Every map is read and written once forward and twice backward (the map and its gradient). Maps are
  float32: the image, the outputs of convolutions after batch norm and ReLU, and the output of
  Mirror Attention. Maps between a depthwise and a pointwise convolution and before a batch norm are
  assumed to stay in the cache. If all maps stay there, as with a small input and a small batch, a
  program can be faster than this limit.
  """
  traffic = 2 * 4 * map_elements(setting.input_shape) * setting.lanes * setting.batch
  return Limit(3 * traffic / rates.bytes, traffic / rates.bytes)


def map_elements(input_shape: tuple[int, int, int]) -> int:
  """Number of elements of all maps of one clip."""
  net = M3Net(VARIANTS['full'], CLASSES, 'conv')
  is_map = lambda module, _: isinstance(module, (layers.Conv, layers.SeparableConv))
  apply = lambda x: net.apply(
    models.init(net, jax.random.key(0), input_shape), x, capture_intermediates=is_map
  )
  (_, out), intermediates = jax.eval_shape(apply, jnp.zeros((1, *input_shape)))
  return int(np.prod(input_shape)) + sum(
    leaf.size for leaf in jax.tree.leaves((out['ma'], intermediates))
  )


def _best(work) -> float:
  seconds = []
  for _ in range(1 + _REPEATS):
    start = time.perf_counter()
    work()
    seconds.append(time.perf_counter() - start)
  return min(seconds)
