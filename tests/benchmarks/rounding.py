"""Whose gradients are rounded how far: every lowering, Keras and PyTorch in float32, against the same in float64.

    python -m tests.benchmarks.rounding [--input_size=64] [--image_channels=1] [--batch_size=32]

For every parameter, the largest difference of its gradient from the float64 one is divided by the largest value of the
latter; the worst parameter is printed. Biases in front of a batch norm are left out: their gradient is zero.
That the frameworks differ from the engine by more than it does from float64 is their rounding, which
`tests.benchmarks.agreement` allows for.
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
  batch = engines.images(setting, engines.data(setting.batch))[0]
  variables = agreement.moved(engines.initial(setting.input_shape))
  with jax.enable_x64(True):
    exact = of_jax(
      'conv', jax.tree.map(np.float64, variables), batch[0].astype(np.float64), batch[1]
    )
  assert all(gradient.dtype == np.float64 for gradient in exact.values())
  print(
    f'gradients at {"x".join(map(str, setting.input_shape))}, {setting.batch} clips: difference from float64, '
    'of the worst parameter\n'
  )
  for lowering in options.LOWERINGS:
    print(_line(f'engine, {lowering}', of_jax(lowering, variables, *batch), exact), flush=True)
  for name in filter(frameworks.installed, frameworks.MODULES):
    with contextlib.closing(frameworks.Framework(name, engines.CLASSES, [batch])) as framework:
      way = framework.choose().train
      framework.load(agreement.named(variables))
      print(_line(f'{name}, {way}', framework.differentiate(way, 0)[1], exact), flush=True)


def of_jax(
  lowering: str, variables, images: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
  """Gradients of the mean cross-entropy in training mode, by names such as 'mfp/align/bn/scale'."""
  _, gradient = agreement.differentiate(engines.model(lowering), variables, images, labels)
  return agreement.named({'params': gradient})


def worst(gradients: dict[str, np.ndarray], exact: dict[str, np.ndarray]) -> tuple[str, float]:
  """The parameter furthest off, and by what share of its largest value."""
  cancelled = {name.rsplit('/', 2)[0] + '/bias' for name in exact if '/bn/' in name}
  shares = {
    name: float(np.abs(gradients[name] - true).max() / np.abs(true).max())
    for name, true in exact.items()
    if name not in cancelled
  }
  name = max(shares, key=shares.get)
  return name, shares[name]


def _line(who: str, gradients: dict[str, np.ndarray], exact: dict[str, np.ndarray]) -> str:
  name, share = worst(gradients, exact)
  return f'{who:<24}{share:>10.1e}   {name}, whose largest value is {np.abs(exact[name]).max():.1e}'


if __name__ == '__main__':
  cli.run(main)
