"""Section `equality`: do all lowerings compute the same, in values and in gradients?

Each convolution alone, of two lanes at once on random maps: its output and its gradients with
respect to map and kernel. Then the network: logits in training and in inference mode, and the
gradient of every parameter. Batch norm hides a wrong scale in the network, not in a convolution
alone. The reference is the first lowering in float32.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from m3net_jax.network import ops
from m3net_jax.network.models import M3Net
from m3net_jax.network.variants import VARIANTS
from tests.benchmarks import agreement, engines
from tests.benchmarks.card_programs import in_precision
from tests.benchmarks.card_sections import Log, Settings, check_time

# Largest difference, as a part of the largest value of the reference. A factor of TF32 has 11
# significant bits and one of bfloat16 8, so a product is off by up to 2^-10 and 2^-7, and a sum
# of many by less.
CONVOLUTION = {'float32': 1e-4, 'tf32': 3e-3, 'bfloat16': 2e-2}
# Of the network, through seven convolutions; a gradient changes by more where rounding moves the
# input of a ReLU across zero (`agreement`).
LOGITS = {'float32': 1e-3, 'tf32': 3e-2, 'bfloat16': 2e-1}
GRADIENT = {'float32': 5e-3, 'tf32': 1e-1, 'bfloat16': 5e-1}
_SECONDS = 15  # that one comparison of the network may take with compiling

Convolution = Callable[[jax.Array, jax.Array, int, str], jax.Array]
# Name: function, kernel for c channels, stride.
CONVOLUTIONS: dict[str, tuple[Convolution, Callable[[int], tuple[int, ...]], int]] = {
  'conv stride 2': (ops.conv, lambda c: (3, 3, c, 32), 2),
  'depthwise stride 1': (ops.depthwise, lambda c: (3, 3, 1, c), 1),
  'depthwise stride 2': (ops.depthwise, lambda c: (3, 3, 1, c), 2),
  'pointwise': (
    lambda x, kernel, _, lowering: ops.pointwise(x, kernel, lowering),
    lambda c: (1, 1, c, 64),
    1,
  ),
}


def run(settings: Settings, log: Log, until: float, known: dict[str, Any]) -> None:
  """Compares all lowerings in all precisions; a row for each convolution and network."""
  pairs = [
    (lowering, precision) for precision in settings.precisions for lowering in settings.lowerings
  ]
  log.plan([*CONVOLUTIONS, *(f'network {" ".join(pair)}' for pair in pairs)])
  reference = settings.lowerings[0]
  for name, (convolve, kernel_of, stride) in CONVOLUTIONS.items():
    with log.attempt(name):
      compare_convolution(log, settings, name, convolve, kernel_of, stride)
  model = lambda lowering, precision: M3Net(
    VARIANTS[settings.variant], engines.CLASSES, lowering, precision
  )
  expected = None
  for lowering, precision in pairs:
    name = f'network {lowering} {precision}'
    with log.attempt(name):
      check_time(until, _SECONDS)
      if expected is None:
        expected = _network(model(reference, 'float32'), settings, 'float32')
      actual = (
        expected
        if (lowering, precision) == (reference, 'float32')
        else _network(model(lowering, precision), settings, precision)
      )
      logits = max(_difference(actual[part], expected[part]) for part in ('training', 'inference'))
      gradient = _gradient_difference(actual['gradient'], expected['gradient'])
      log.row(
        name,
        lowering=lowering,
        precision=precision,
        logits=logits,
        gradient=gradient,
        equal=bool(logits <= LOGITS[precision] and gradient <= GRADIENT[precision]),
      )


def compare_convolution(
  log: Log,
  settings: Settings,
  name: str,
  convolve: Convolution,
  kernel_of: Callable[[int], tuple[int, ...]],
  stride: int,
) -> None:
  """Adds a row that says for every lowering and precision how much a convolution differs.

  The row has 'differences', {'LOWERING PRECISION': largest part}, 'unequal', the names of those
  above the tolerance, and 'equal'.
  """
  height, width, _ = settings.equality.input_shape
  rng = np.random.default_rng(0)
  x = rng.standard_normal((2, settings.equality.batch, height, width, 32), np.float32)
  kernel = rng.standard_normal((2, *kernel_of(32)), np.float32)

  def values(lowering: str, precision: str) -> list[np.ndarray]:
    function = jax.vmap(lambda x, kernel: convolve(x, kernel, stride, lowering))
    shape = jax.eval_shape(function, x, kernel).shape
    g = np.random.default_rng(1).standard_normal(shape, np.float32)

    @jax.jit
    def all_of(x, kernel, g):
      if precision == 'bfloat16':
        x, g = x.astype(jnp.bfloat16), g.astype(jnp.bfloat16)
      y, backward = jax.vjp(function, x, kernel)
      return [y, *backward(g)]

    with in_precision(precision):
      return [np.asarray(value, np.float32) for value in all_of(x, kernel, g)]

  expected = values(settings.lowerings[0], 'float32')
  differences, unequal = {}, []
  for precision in settings.precisions:
    for lowering in settings.lowerings:
      each = f'{lowering} {precision}'
      differences[each] = max(map(_difference, values(lowering, precision), expected))
      if not differences[each] <= CONVOLUTION[precision]:
        unequal.append(each)
  log.row(name, differences=differences, unequal=unequal, equal=not unequal)


def _network(model: M3Net, settings: Settings, precision: str) -> dict[str, Any]:
  """Logits in both modes and the gradient of every parameter, for equal weights and images."""
  variables = agreement.perturbed(_initial(settings))
  rng = np.random.default_rng(0)
  images = rng.standard_normal(
    (settings.equality.batch, *settings.equality.input_shape), np.float32
  )
  labels = np.arange(settings.equality.batch, dtype=np.int32) % engines.CLASSES
  with in_precision(precision):
    logits, gradient = agreement.differentiate(model, variables, images, labels)
    inference = jax.jit(lambda images: model.apply(variables, images)[0])(images)
  return {
    'training': np.asarray(logits, np.float32),
    'inference': np.asarray(inference, np.float32),
    'gradient': agreement.flatten({'params': gradient}),
  }


def _initial(settings: Settings) -> Any:
  model = M3Net(VARIANTS[settings.variant], engines.CLASSES, 'conv')
  images = jnp.zeros((1, *settings.equality.input_shape))
  variables = jax.jit(lambda: model.init(jax.random.key(0), images))()
  return jax.tree.map(np.asarray, dict(variables))


def _difference(actual: np.ndarray, expected: np.ndarray) -> float:
  """The largest difference as a part of the largest value; infinite for a NaN."""
  part = float(np.abs(actual - expected).max() / np.abs(expected).max())
  return part if np.isfinite(part) else 1e9


def _gradient_difference(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
  """The largest part by which the gradient of a parameter differs.

  Of a parameter whose gradient almost cancels, the rounding counts as a part of the largest
  gradient of the network.
  """
  largest = max(np.abs(gradient).max() for gradient in expected.values())
  floor = agreement.ROUNDING / agreement.GRADIENT_TOLERANCE * largest
  parts = [
    float(np.abs(actual[name] - gradient).max() / max(np.abs(gradient).max(), floor))
    for name, gradient in expected.items()
  ]
  return max(part if np.isfinite(part) else 1e9 for part in parts)
