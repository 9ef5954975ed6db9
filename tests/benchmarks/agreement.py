"""Whether a framework computes the same function as the engine, from the same weights on the same images.

Compared are the logits in training mode (the statistics of the batch) and in inference mode (the
moving ones), and the gradient of the mean cross-entropy by every parameter.
"""

from typing import Any

import jax
import numpy as np
import optax

from m3net_jax.network.models import M3Net
from tests.benchmarks.frameworks import Framework, Ways

TOLERANCE = 1e-3  # of a tensor's largest magnitude
# A ReLU whose input rounds to the other side of zero moves a gradient by more than rounding does: 2e-3 was seen in
# float32. A wrong padding or flip moves it by 1e-1 and more.
GRADIENT_TOLERANCE = 5e-3
# Of the largest gradient of the network: sums over large maps that all but cancel keep that much rounding, and a bias
# before batch norm, whose gradient is zero, has nothing else. Against float64 the frameworks were off by 1.3 % of such a
# tensor's largest value, the engine by 0.01 % (`tests.benchmarks.rounding`, 256x256x3).
ROUNDING = 1e-3


class Disagreement(Exception):
  """Names the framework and the tensor."""


def named(tree: Any) -> dict[str, np.ndarray]:
  """The leaves of 'params' and 'batch_stats' as one dictionary by names such as 'mfp/align/bn/scale'."""
  return {
    '/'.join(key.key for key in path[1:]): np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def moved(variables: Any) -> Any:
  """The variables with every leaf off its initial value, so that a zero or a one in the wrong place shows."""
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda leaf: leaf + rng.uniform(0.05, 0.2, leaf.shape).astype(np.float32), variables
  )


def check(
  framework: Framework,
  ways: Ways,
  model: M3Net,
  variables: Any,
  images: np.ndarray,
  labels: np.ndarray,
) -> None:
  """Compares a framework, which is left with `variables` moved, with the JAX model.

  Args:
    ways: in which it trains and evaluates.
    variables: 'params' and 'batch_stats'.
    images, labels: its batch 0.

  Raises:
    Disagreement: at the first tensor that differs by more than the tolerance.
  """
  name, there = framework.name, moved(variables)
  framework.load(named(there))
  _compare(
    f'{name}: logits in inference mode',
    framework.evaluate(ways.evaluate, [0]),
    jax.jit(lambda x: model.apply(there, x)[0])(images),
  )
  logits, gradients = framework.differentiate(ways.train, 0)
  own_logits, own = differentiate(model, there, images, labels)
  _compare(f'{name}: logits in training mode', logits, own_logits)
  own_named = named({'params': own})
  if own_named.keys() != gradients.keys():
    raise Disagreement(
      f'{name}: parameters differ: {", ".join(sorted(own_named.keys() ^ gradients.keys()))}'
    )
  largest = max(np.abs(gradient).max() for gradient in own_named.values())
  for tensor, gradient in own_named.items():
    _compare(
      f'{name}: gradient of {tensor}',
      gradients[tensor],
      gradient,
      GRADIENT_TOLERANCE,
      ROUNDING * largest,
    )


def differentiate(
  model: M3Net, variables: Any, images: np.ndarray, labels: np.ndarray
) -> tuple[Any, Any]:
  """Logits and the gradient by 'params'."""

  @jax.jit
  def gradient_of(params, images, labels):

    def loss(params):
      (logits, _), _ = model.apply(
        {**variables, 'params': params}, images, train=True, mutable=['batch_stats']
      )
      return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits

    return jax.grad(loss, has_aux=True)(params)

  gradient, logits = gradient_of(variables['params'], images, labels)
  return logits, gradient


def _compare(
  what: str, found: np.ndarray, expected: Any, tolerance: float = TOLERANCE, rounding: float = 0.0
) -> None:
  """`rounding` is how far off a tensor may be beyond its tolerance, however small it is."""
  expected = np.asarray(expected)
  if found.shape != expected.shape:
    raise Disagreement(f'{what} has shape {found.shape}, not {expected.shape}')
  size, difference = np.abs(expected).max(), np.abs(found - expected).max()
  if not difference <= tolerance * size + rounding:  # NaN is not
    raise Disagreement(
      f"{what} differs from the engine's by {difference:.2g}, its largest value is {size:.2g}"
    )
