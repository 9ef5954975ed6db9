"""The Keras and PyTorch models equal the project's network: logits and gradients."""

import jax
import numpy as np
import pytest

from tests.benchmarks import agreement, engines, frameworks
from tests.benchmarks.frameworks import Ways

FIRST_WAYS = {
  'keras': Ways('tf.function', 'tf.function', {}),
  'pytorch': Ways('eager', 'eager', {}),
}


@pytest.mark.parametrize('name', list(frameworks.MODULES))
def test_same_function(name):
  if not frameworks.installed(name):
    pytest.skip(f'{name} is not installed')
  shape = (20, 16, 3)  # 20 becomes odd before the last halving: SAME pads it differently
  images = np.random.default_rng(0).standard_normal((4, *shape)).astype(np.float32)
  labels = np.arange(4, dtype=np.int32)
  framework = frameworks.Framework(name, engines.CLASSES, [(images, labels)])
  variables = engines.initial(shape)
  agreement.check(framework, FIRST_WAYS[name], engines.model('shift'), variables, images, labels)
  # The comparison fails if the channels of the first layer are in another order.
  wrong = jax.tree.map(np.copy, variables)
  wrong['params']['stem']['kernel'] = wrong['params']['stem']['kernel'][..., ::-1]
  with pytest.raises(agreement.Disagreement, match=name):
    agreement.check(
      _WithWeights(framework, wrong),
      FIRST_WAYS[name],
      engines.model('shift'),
      variables,
      images,
      labels,
    )
  framework.close()


class _WithWeights:
  """A framework that loads its own variables instead of the given weights."""

  def __init__(self, framework, variables):
    self._framework, self._variables = framework, variables

  def __getattr__(self, name):
    return getattr(self._framework, name)

  def load(self, weights):
    self._framework.load(agreement.flatten(agreement.perturbed(self._variables)))
