"""How fast lanes train and are evaluated on a CPU: this engine, the natural JAX form, Keras and PyTorch, in one run.

    python -m tests.benchmarks.lanes [--size=64] [--channels=1] [--lanes=4] [--batch=32]
        [--engines=engine,natural,keras,pytorch] [--json=PATH]

All train the same network on the same clips: first the frameworks are given the engine's weights, and the run ends
where logits or a gradient differ. Then they take turns for several rounds, and medians are printed, beside the least
time that the arithmetic and the memory traffic take on this computer (`limits`).

engine    as a study runs it: many steps a call, from log-Mel arrays on the device to parameters
natural   one step under `vmap` over lanes with `lax.conv_general_dilated`, which XLA makes one grouped convolution
keras     lanes one after another, a `tf.function` a step, with XLA or without, whichever is faster
pytorch   lanes one after another, channels-last, eager or by `torch.compile`, whichever is faster

The frameworks are given images of the input's size; the engine resizes its clips within the time measured.
The ratio is of the time to that of the faster framework.
"""

import contextlib
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from data_prep import cli, files
from data_prep.errors import UserError
from m3net_jax.network import ops
from m3net_jax.study import lanes
from tests.benchmarks import agreement, engines, frameworks, limits
from tests.benchmarks.engines import Contender, Setting

PAUSE = 0.3  # seconds before each turn, in which the threads of whoever came before stop looking for more work
ENGINES = ('engine', 'natural', *frameworks.MODULES)

_SIZE = flags.DEFINE_integer('size', 64, 'height and width of the input', lower_bound=8)
_CHANNELS = flags.DEFINE_enum('channels', '1', ('1', '3'), 'channels of the input')
_LANES = flags.DEFINE_integer('lanes', 4, 'lanes trained', lower_bound=1)
_BATCH = flags.DEFINE_integer('batch', 32, 'clips a step', lower_bound=2)
_STEPS = flags.DEFINE_integer(
  'steps',
  lanes.STEPS_PER_CALL,
  'steps of every lane timed at a time (natural: one); with '
  'fewer than a study takes, the engine pays more often for the memory of a call, which is '
  'given back after it',
  lower_bound=1,
)
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'rounds; medians are printed', lower_bound=1)
_ENGINES = flags.DEFINE_list(
  'engines',
  None,
  f'which of {",".join(ENGINES)} (default: all that are '
  'installed); natural takes minutes a step at 256x256x3',
)
_JSON = flags.DEFINE_string('json', None, 'also write the rows to this file')


def main(arguments: list[str], _: flags.FlagValues) -> None:
  cli.no_arguments(arguments)
  names = _asked()
  engines.use_all_cores()
  setting = Setting((_SIZE.value, _SIZE.value, int(_CHANNELS.value)), _LANES.value, _BATCH.value)
  rates = limits.measure()
  with contextlib.ExitStack() as closing:
    try:
      contenders = _contenders(names, setting, closing)
      _first_steps(contenders)
    except agreement.Disagreement as error:
      raise SystemExit(f'error: {error}') from error
    seconds = _seconds(contenders)
  bounds = {
    f'{rates.flops / 1e9:.0f} GFLOP/s': limits.of_flops(setting, rates),
    f'{rates.bytes / 1e9:.1f} GB/s': limits.of_memory(setting, rates),
  }
  print(_table(setting, contenders, seconds, bounds))
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # of KiB on Linux
  print(f'\npeak memory of this process, the frameworks not in it: {peak:.1f} GiB')
  if missing := [name for name in frameworks.MODULES if not frameworks.installed(name)]:
    print(f"\nnot installed: {', '.join(missing)} (pip install -e '.[bench]')")
  if _JSON.value:
    files.write_json(Path(_JSON.value), _rows(setting, contenders, seconds))


def _asked() -> list[str]:
  """The contenders' names, in the order of the table."""
  if _ENGINES.value is None:
    return [
      name for name in ENGINES if name not in frameworks.MODULES or frameworks.installed(name)
    ]
  for name in _ENGINES.value or ['']:
    if name not in ENGINES:
      raise UserError(f'--engines={name}: unknown; give some of {",".join(ENGINES)}')
    if name in frameworks.MODULES and not frameworks.installed(name):
      raise UserError(
        f'--engines={name}: {" or ".join(frameworks.MODULES[name])} is not installed; '
        "pip install -e '.[bench]'"
      )
  return [name for name in ENGINES if name in _ENGINES.value]


def _contenders(
  names: list[str], setting: Setting, closing: contextlib.ExitStack
) -> dict[str, Contender]:
  """Made, and where they are frameworks, checked and given the weights of lane 0."""
  some, made = engines.data(setting.batch), {}
  if 'engine' in names:
    made['engine'] = engines.engine(setting, some, _STEPS.value)
  if 'natural' in names:
    made['natural'] = engines.natural(setting, some)
  asked = [name for name in frameworks.MODULES if name in names]
  if not asked:
    return made
  images, weights = engines.images(setting, some), engines.initial(setting.input_shape)
  model = engines.model(ops.lowering_for(jax.default_backend()))
  for name in asked:
    framework = closing.enter_context(
      contextlib.closing(frameworks.Framework(name, engines.CLASSES, images))
    )
    ways = framework.choose()
    for way, reason in ways.failed.items():
      print(f'{name}: {way} does not work here ({reason})')
    agreement.check(framework, ways, model, weights, *images[0])
    framework.load(agreement.named(weights))
    made[name] = engines.of_framework(framework, ways, setting, some, _STEPS.value)
  return made


def _first_steps(contenders: dict[str, Contender]) -> None:
  """Compiles, and compares the losses of the first step: from the same weights on the same clips."""
  losses = {name: contender.train() for name, contender in contenders.items()}
  first = next(iter(losses))
  for name, each in losses.items():
    count = min(len(each), len(losses[first]))
    if not np.allclose(each[:count], losses[first][:count], rtol=agreement.TOLERANCE):
      raise agreement.Disagreement(
        f'{name}: losses of the first step {each[:count]}, of {first} {losses[first][:count]}'
      )
  for contender in contenders.values():
    contender.evaluate()


def _seconds(contenders: dict[str, Contender]) -> dict[str, tuple[float, float]]:
  """Medians for a training step and an evaluated batch of all lanes, by contender."""
  taken: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in contenders}
  for _ in range(_ROUNDS.value):
    for i, work in enumerate(('train', 'evaluate')):
      for name, contender in contenders.items():
        taken[name][i].append(_time(getattr(contender, work)) / contender.steps)
  return {
    name: (statistics.median(train), statistics.median(evaluate))
    for name, (train, evaluate) in taken.items()
  }


def _time(work: Callable[[], Any]) -> float:
  time.sleep(PAUSE)
  begun = time.perf_counter()
  work()
  return time.perf_counter() - begun


def _best(seconds: dict[str, tuple[float, float]]) -> list[float | None]:
  """Of the frameworks: training, evaluation."""
  of_frameworks = [each for name, each in seconds.items() if name in frameworks.MODULES]
  return [min((each[i] for each in of_frameworks), default=None) for i in range(2)]


def _rows(
  setting: Setting, contenders: dict[str, Contender], seconds: dict[str, tuple[float, float]]
) -> list[dict[str, Any]]:
  best = _best(seconds)
  over = lambda each, i: each[i] / best[i] if best[i] else None
  return [
    {
      'engine': name,
      'how': contenders[name].how,
      'input_shape': list(setting.input_shape),
      'lanes': setting.lanes,
      'batch': setting.batch,
      'seconds': each[0],
      'ratio_to_best_framework': over(each, 0),
      'evaluation_seconds': each[1],
      'evaluation_ratio_to_best_framework': over(each, 1),
    }
    for name, each in seconds.items()
  ]


def _table(
  setting: Setting,
  contenders: dict[str, Contender],
  seconds: dict[str, tuple[float, float]],
  bounds: dict[str, limits.Limit],
) -> str:
  best = _best(seconds)
  ratio = lambda each, i: f'{each[i] / best[i]:.2f}' if best[i] else '-'
  line = lambda name, how, each: (
    f'{name:<13}{how:<27}' + '  '.join(f'{each[i]:>10.4f}{ratio(each, i):>8}' for i in range(2))
  )
  shape = 'x'.join(map(str, setting.input_shape))
  return '\n'.join(
    [
      f'{setting.lanes} lanes x {setting.batch} clips at {shape}: seconds for all lanes, '
      f'medians of {_ROUNDS.value} rounds of {_STEPS.value} steps\n',
      f'{"":<40}{"training step":>18}  {"evaluation":>18}',
      f'{"":<40}{"seconds":>10}{"ratio":>8}  {"seconds":>10}{"ratio":>8}',
      *(line(name, contenders[name].how, each) for name, each in seconds.items()),
      *(
        line(name, rate, each)
        for name, (rate, each) in zip(('FLOP limit', 'memory limit'), bounds.items())
      ),
    ]
  )


if __name__ == '__main__':
  cli.run(main)
