"""What a card can do at best: published figures, and two rates that are measured on it."""

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tests.benchmarks.card_programs import in_precision

_TRIES = 3


class Peak(NamedTuple):
  """Published rates of a card, without sparsity; None where the card has no such unit.

  Attributes:
    float32: FLOP/s of the ordinary units (not the tensor cores).
    tf32, bfloat16: FLOP/s of the tensor cores, products of these types summed in float32.
    bytes: bytes/s of the card's memory.
  """

  float32: float | None
  tf32: float | None
  bfloat16: float | None
  bytes: float


_H100 = Peak(67e12, 494.7e12, 989.4e12, 3.35e12)
# By the first words of jax's `device_kind`; the first that fits counts. NVIDIA's data sheets state
# the tensor cores with sparsity: half of that is here.
PEAKS = {
  'NVIDIA H100 PCIe': Peak(51e12, 378e12, 756e12, 2.0e12),  # NVIDIA H100 data sheet
  'NVIDIA H100 NVL': Peak(60e12, 417.5e12, 835.5e12, 3.9e12),
  'NVIDIA H100': _H100,  # SXM
  'NVIDIA H200 NVL': Peak(60e12, 417.5e12, 835.5e12, 4.8e12),  # NVIDIA H200 data sheet
  'NVIDIA H200': _H100._replace(bytes=4.8e12),  # SXM
  'NVIDIA A100-SXM4-80GB': Peak(19.5e12, 156e12, 312e12, 2.039e12),  # NVIDIA A100 data sheet
  'NVIDIA A100 80GB PCIe': Peak(19.5e12, 156e12, 312e12, 1.935e12),
  'NVIDIA A100': Peak(19.5e12, 156e12, 312e12, 1.555e12),  # 40 GB
  'NVIDIA L4': Peak(30.3e12, 60e12, 121e12, 0.3e12),  # NVIDIA L4 data sheet; L40 and L40S: below
  'NVIDIA L40S': Peak(91.6e12, 183e12, 362e12, 0.864e12),  # NVIDIA L40S data sheet
  'Tesla T4': Peak(8.1e12, None, None, 0.32e12),  # NVIDIA T4 data sheet; its float16 has 65e12
  'NVIDIA GeForce RTX 4090': Peak(82.6e12, 82.6e12, 165.2e12, 1.008e12),  # NVIDIA Ada white paper
  'NVIDIA GeForce RTX 3090': Peak(35.6e12, 35.6e12, 71e12, 0.936e12),  # NVIDIA Ampere white paper
  # cloud.google.com/tpu/docs; float32 products are several passes in bfloat16
  'TPU v5 lite': Peak(None, None, 197e12, 0.819e12),  # v5e
  'TPU v6 lite': Peak(None, None, 918e12, 1.64e12),  # v6e
  'TPU v5': Peak(None, None, 459e12, 2.765e12),  # v5p
  'TPU v4': Peak(None, None, 275e12, 1.2e12),
}


def published(device_kind: str) -> Peak | None:
  """The published rates of a card by jax's name for it; None if it is not in the table."""
  for name, peak in PEAKS.items():
    rest = device_kind.removeprefix(name)
    if rest != device_kind and not rest[:1].isalnum():  # an L40 is no L4
      return peak
  return None


def flops(precision: str, side: int) -> float:
  """FLOP/s of a product of two square matrices on one device, the best of a few tries.

  Args:
    precision: one of `options.PRECISIONS`.
    side: rows and columns of the matrices.
  """
  with in_precision(precision):
    product = jax.jit(lambda a, b: a @ b)
    a = jnp.ones((side, side), jnp.bfloat16 if precision == 'bfloat16' else jnp.float32)
    return 2 * side**3 / _best(lambda: product(a, a))


def bytes_per_second(count: int) -> float:
  """Bytes read and written per second in a pass over `count` bytes, the best of a few tries."""
  change = jax.jit(lambda a: a + 1)
  a = jnp.zeros(count // 4)
  return 2 * count / _best(lambda: change(a))


def _best(work: Callable[[], jax.Array]) -> float:
  seconds = []
  for _ in range(1 + _TRIES):  # the first call compiles
    start = time.perf_counter()
    jax.block_until_ready(work())
    seconds.append(time.perf_counter() - start)
  return min(seconds)
