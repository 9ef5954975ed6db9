"""How fast this engine, plain JAX, Keras and PyTorch train and evaluate lanes on a CPU, in one run.

    python -m tests.benchmarks.lanes [--size=64] [--channels=1] [--lanes=4] [--batch=32]
        [--engines=engine,natural,keras,pytorch] [--json=PATH]

All train the same network on the same clips. First the frameworks get the engine's weights, and the
run stops if logits or a gradient differ. Then the contenders take turns for several rounds. Medians
are printed, with the least time for the arithmetic and the memory traffic on this computer
(`limits`).

engine    as in a study: many steps per call, from log-Mel arrays on the device to parameters
natural   plain JAX: one step under `vmap` over lanes with `lax.conv_general_dilated`, which XLA
          turns into one grouped convolution
keras     lanes one after another, one `tf.function` per step, with or without XLA, the faster one
pytorch   lanes one after another, channels-last, eager or with `torch.compile`, the faster one

The frameworks get images of the input's size. The engine resizes its clips, and this is part of its
time. The ratio is the time divided by that of the faster framework.
"""

import contextlib
import json
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

# Seconds before each turn: the idle threads of the previous contender stop spinning.
PAUSE = 0.3
ENGINES = ('engine', 'natural', *frameworks.MODULES)

_SIZE = flags.DEFINE_integer('size', 64, 'height and width of the input', lower_bound=8)
_CHANNELS = flags.DEFINE_enum('channels', '1', ('1', '3'), 'channels of the input')
_LANES = flags.DEFINE_integer('lanes', 4, 'lanes', lower_bound=1)
_BATCH = flags.DEFINE_integer('batch', 32, 'clips per step', lower_bound=2)
_STEPS = flags.DEFINE_integer(
  'steps',
  lanes.STEPS_PER_CALL,
  'steps of every lane per timed call (natural: one); with fewer steps than in a study the engine '
  'is slower, because it allocates the memory of a call again for each call',
  lower_bound=1,
)
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'rounds; medians are printed', lower_bound=1)
_ENGINES = flags.DEFINE_list(
  'engines',
  None,
  f'some of {",".join(ENGINES)} (default: all that are installed); '
  'natural takes minutes per step at 256x256x3',
)
_JSON = flags.DEFINE_string('json', None, 'also write the rows to this file')


def main(arguments: list[str], _: flags.FlagValues) -> None:
  cli.no_arguments(arguments)
  names = _names()
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
    f'{rates.flops / 1e9:.0f} GFLOP/s': limits.flop_limit(setting, rates),
    f'{rates.bytes / 1e9:.1f} GB/s': limits.memory_limit(setting, rates),
  }
  print(_table(setting, contenders, seconds, bounds))
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # of KiB on Linux
  print(f'\npeak memory of this process, without the frameworks: {peak:.1f} GiB')
  if missing := [name for name in frameworks.MODULES if not frameworks.installed(name)]:
    print(f"\nnot installed: {', '.join(missing)} (pip install -e '.[bench]')")
  if _JSON.value:
    text = json.dumps(_rows(setting, contenders, seconds), indent=1, allow_nan=False)
    files.write_bytes(Path(_JSON.value), f'{text}\n'.encode())


def _names() -> list[str]:
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
  """Creates the contenders; frameworks are checked and get the weights of lane 0."""
  data, contenders = engines.make_data(setting.batch), {}
  if 'engine' in names:
    contenders['engine'] = engines.engine(setting, data, _STEPS.value)
  if 'natural' in names:
    contenders['natural'] = engines.natural(setting, data)
  framework_names = [name for name in frameworks.MODULES if name in names]
  if not framework_names:
    return contenders
  images, weights = engines.images(setting, data), engines.initial(setting.input_shape)
  model = engines.model(ops.lowering_for(jax.default_backend()))
  for name in framework_names:
    framework = closing.enter_context(
      contextlib.closing(frameworks.Framework(name, engines.CLASSES, images))
    )
    ways = framework.choose()
    for way, reason in ways.failed.items():
      print(f'{name}: {way} does not work on this computer ({reason})')
    agreement.check(framework, ways, model, weights, *images[0])
    framework.load(agreement.flatten(weights))
    contenders[name] = engines.from_framework(framework, ways, setting, data, _STEPS.value)
  return contenders


def _first_steps(contenders: dict[str, Contender]) -> None:
  """Compiles, and compares the losses of the first step, for the same weights and clips."""
  first_losses = {name: contender.train() for name, contender in contenders.items()}
  first = next(iter(first_losses))
  for name, losses in first_losses.items():
    count = min(len(losses), len(first_losses[first]))
    expected = first_losses[first][:count]
    if not np.allclose(losses[:count], expected, rtol=agreement.TOLERANCE):
      raise agreement.Disagreement(
        f'{name}: losses of the first step {losses[:count]}, of {first} {expected}'
      )
  for contender in contenders.values():
    contender.evaluate()


def _seconds(contenders: dict[str, Contender]) -> dict[str, tuple[float, float]]:
  """Median seconds of a training step and of an evaluated batch of all lanes, per contender."""
  times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in contenders}
  for _ in range(_ROUNDS.value):
    for i, work in enumerate(('train', 'evaluate')):
      for name, contender in contenders.items():
        times[name][i].append(_time(getattr(contender, work)) / contender.steps)
  return {
    name: (statistics.median(train), statistics.median(evaluate))
    for name, (train, evaluate) in times.items()
  }


def _time(work: Callable[[], Any]) -> float:
  time.sleep(PAUSE)
  start = time.perf_counter()
  work()
  return time.perf_counter() - start


def _best(seconds: dict[str, tuple[float, float]]) -> list[float | None]:
  """The least seconds of the frameworks: training, evaluation; None without frameworks."""
  framework_seconds = [pair for name, pair in seconds.items() if name in frameworks.MODULES]
  return [min((pair[i] for pair in framework_seconds), default=None) for i in range(2)]


def _rows(
  setting: Setting, contenders: dict[str, Contender], seconds: dict[str, tuple[float, float]]
) -> list[dict[str, Any]]:
  best = _best(seconds)
  ratio = lambda pair, i: pair[i] / best[i] if best[i] else None
  return [
    {
      'engine': name,
      'how': contenders[name].choices,
      'input_shape': list(setting.input_shape),
      'lanes': setting.lanes,
      'batch': setting.batch,
      'seconds': pair[0],
      'ratio_to_best_framework': ratio(pair, 0),
      'evaluation_seconds': pair[1],
      'evaluation_ratio_to_best_framework': ratio(pair, 1),
    }
    for name, pair in seconds.items()
  ]


def _table(
  setting: Setting,
  contenders: dict[str, Contender],
  seconds: dict[str, tuple[float, float]],
  bounds: dict[str, limits.Limit],
) -> str:
  best = _best(seconds)
  ratio = lambda pair, i: f'{pair[i] / best[i]:.2f}' if best[i] else '-'
  line = lambda name, choices, pair: (
    f'{name:<13}{choices:<27}' + '  '.join(f'{pair[i]:>10.4f}{ratio(pair, i):>8}' for i in range(2))
  )
  shape = 'x'.join(map(str, setting.input_shape))
  return '\n'.join(
    [
      f'{setting.lanes} lanes x {setting.batch} clips at {shape}: seconds for all lanes, '
      f'medians of {_ROUNDS.value} rounds of {_STEPS.value} steps\n',
      f'{"":<40}{"training step":>18}  {"evaluation":>18}',
      f'{"":<40}{"seconds":>10}{"ratio":>8}  {"seconds":>10}{"ratio":>8}',
      *(line(name, contenders[name].choices, pair) for name, pair in seconds.items()),
      *(
        line(name, rate, limit)
        for name, (rate, limit) in zip(('FLOP limit', 'memory limit'), bounds.items())
      ),
    ]
  )


if __name__ == '__main__':
  cli.run(main)
