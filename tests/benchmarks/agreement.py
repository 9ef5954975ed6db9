"""Checks that a framework computes the same function as the engine, for equal weights and images.

Compared are the logits in training mode (batch statistics) and in inference mode (moving
statistics), and the gradient of the mean cross-entropy with respect to every parameter.
"""

from typing import Any

import jax
import numpy as np
import optax

from m3net_jax.network.models import M3Net
from tests.benchmarks.frameworks import Framework, Ways

TOLERANCE = 1e-3  # of a tensor's largest magnitude
# If rounding moves the input of a ReLU to the other side of zero, a gradient changes by more than
# rounding does: by 2e-3 in float32. A wrong padding or flip changes it by 1e-1 and more.
GRADIENT_TOLERANCE = 5e-3
# Of the largest gradient of the network. Sums over large maps that almost cancel have this much
# rounding; so does a bias before batch norm, whose gradient is zero. Compared with float64, the
# frameworks differed by 1.3 % of such a tensor's largest value, the engine by 0.01 %
# (`tests.benchmarks.rounding`, 256x256x3).
ROUNDING = 1e-3


class Disagreement(Exception):
  """A framework differs from the engine; the message names the framework and the tensor."""


def flatten(tree: Any) -> dict[str, np.ndarray]:
  """The leaves of 'params' and 'batch_stats' by names such as 'mfp/align/bn/scale'."""
  return {
    '/'.join(key.key for key in path[1:]): np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def perturbed(variables: Any) -> Any:
  """The variables with every leaf moved from its initial value: a misplaced zero or one shows."""
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
  """Compares a framework with the JAX model; leaves it with perturbed weights.

  Args:
    framework: the framework.
    ways: in which the framework trains and evaluates.
    model: the JAX model.
    variables: 'params' and 'batch_stats'.
    images: of the framework's batch 0.
    labels: of the framework's batch 0.

  Raises:
    Disagreement: a tensor differs by more than the tolerance.
  """
  name, variables = framework.name, perturbed(variables)
  framework.load(flatten(variables))
  _compare(
    f'{name}: logits in inference mode',
    framework.evaluate(ways.evaluate, [0]),
    jax.jit(lambda x: model.apply(variables, x)[0])(images),
  )
  logits, gradients = framework.differentiate(ways.train, 0)
  expected_logits, gradient_tree = differentiate(model, variables, images, labels)
  _compare(f'{name}: logits in training mode', logits, expected_logits)
  expected = flatten({'params': gradient_tree})
  if expected.keys() != gradients.keys():
    raise Disagreement(
      f'{name}: parameters differ: {", ".join(sorted(expected.keys() ^ gradients.keys()))}'
    )
  largest = max(np.abs(gradient).max() for gradient in expected.values())
  for tensor, gradient in expected.items():
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
  """Logits in training mode and the gradient of the loss with respect to 'params'."""

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
  name: str, actual: np.ndarray, expected: Any, tolerance: float = TOLERANCE, rounding: float = 0.0
) -> None:
  """`rounding` is an absolute tolerance in addition to the relative one."""
  expected = np.asarray(expected)
  if actual.shape != expected.shape:
    raise Disagreement(f'{name} has shape {actual.shape}, not {expected.shape}')
  size, difference = np.abs(expected).max(), np.abs(actual - expected).max()
  if not difference <= tolerance * size + rounding:  # true for NaN too
    raise Disagreement(
      f"{name} differs from the engine's by {difference:.2g}, its largest value is {size:.2g}"
    )
