"""Rounding of the gradients in float32: every lowering, Keras and PyTorch, against float64.

    python -m tests.benchmarks.rounding [--input_size=64] [--image_channels=1] [--batch_size=32]

For every parameter, the largest difference of its gradient from the float64 gradient is divided by
the largest value of the float64 gradient; the worst parameter is printed. Biases before a batch
norm are left out: their gradient is zero. The frameworks differ from the engine by more than the
engine does from float64. This is rounding of the frameworks, and `tests.benchmarks.agreement`
allows it.
"""

import contextlib

import jax
import numpy as np
from absl import flags

from data_prep import cli
from m3net_jax.network import options
from tests.benchmarks import agreement, engines, frameworks
from tests.benchmarks.engines import Setting

_SIZE = flags.DEFINE_integer('input_size', 64, 'height and width of the input', lower_bound=8)
_CHANNELS = flags.DEFINE_enum('image_channels', '1', ('1', '3'), 'channels of the input')
_BATCH_SIZE = flags.DEFINE_integer('batch_size', 32, 'clips', lower_bound=2)


def main(arguments: list[str], _: flags.FlagValues) -> None:
  cli.no_arguments(arguments)
  engines.use_all_cores()
  setting = Setting((_SIZE.value, _SIZE.value, int(_CHANNELS.value)), 1, _BATCH_SIZE.value)
  batch = engines.images(setting, engines.make_data(setting.batch))[0]
  variables = agreement.perturbed(engines.initial(setting.input_shape))
  with jax.enable_x64(True):
    exact = jax_gradients(
      'conv', jax.tree.map(np.float64, variables), batch[0].astype(np.float64), batch[1]
    )
  assert all(gradient.dtype == np.float64 for gradient in exact.values())
  print(
    f'gradients at {"x".join(map(str, setting.input_shape))}, {setting.batch} clips: '
    'difference from float64, of the worst parameter\n'
  )
  for lowering in options.LOWERINGS:
    gradients = jax_gradients(lowering, variables, *batch)
    print(_line(f'engine, {lowering}', gradients, exact), flush=True)
  for name in filter(frameworks.installed, frameworks.MODULES):
    with contextlib.closing(frameworks.Framework(name, engines.CLASSES, [batch])) as framework:
      way = framework.choose().train
      framework.load(agreement.flatten(variables))
      print(_line(f'{name}, {way}', framework.differentiate(way, 0)[1], exact), flush=True)


def jax_gradients(
  lowering: str, variables, images: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
  """Gradients of the mean cross-entropy in training mode, by names such as 'mfp/align/bn/scale'."""
  _, gradient = agreement.differentiate(engines.model(lowering), variables, images, labels)
  return agreement.flatten({'params': gradient})


def worst(gradients: dict[str, np.ndarray], exact: dict[str, np.ndarray]) -> tuple[str, float]:
  """The parameter with the largest difference, and this difference over its largest value."""
  cancelled = {name.rsplit('/', 2)[0] + '/bias' for name in exact if '/bn/' in name}
  differences = {
    name: float(np.abs(gradients[name] - gradient).max() / np.abs(gradient).max())
    for name, gradient in exact.items()
    if name not in cancelled
  }
  name = max(differences, key=differences.get)
  return name, differences[name]


def _line(label: str, gradients: dict[str, np.ndarray], exact: dict[str, np.ndarray]) -> str:
  name, difference = worst(gradients, exact)
  largest = np.abs(exact[name]).max()
  return f'{label:<24}{difference:>10.1e}   {name}, whose largest value is {largest:.1e}'


if __name__ == '__main__':
  cli.run(main)
