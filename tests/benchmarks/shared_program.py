"""Five variants that differ in mirrors and channel weights: one program for all, against one for each.

    python -m tests.benchmarks.shared_program [--size=64] [--lanes=2] [--batch=32]

The one program takes the switches as a lane's values; the five have them built in. Both run on the engine's own scan
over steps and map over lanes; losses of the first step are compared before anything is printed.
"""

import time

import numpy as np
from absl import flags
from jax import lax

from data_prep import cli
from m3net_jax.network import image, ops
from m3net_jax.network.variants import VARIANTS
from m3net_jax.study import lanes
from tests.benchmarks import engines
from tests.benchmarks.engines import Setting

_SIZE = flags.DEFINE_integer('size', 64, 'height and width of the input', lower_bound=8)
_LANES = flags.DEFINE_integer('lanes', 2, 'lanes a variant', lower_bound=1)
_BATCH = flags.DEFINE_integer('batch', 32, 'clips a step', lower_bound=2)
_STEPS = flags.DEFINE_integer('steps', 16, 'steps a call', lower_bound=1)
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'rounds; the median is printed', lower_bound=1)
NAMES = ('full', 'plain', 'eca', 'eca_csf', 'eca_csf_vmf')


def main(arguments: list[str], _: flags.FlagValues) -> None:
  cli.no_arguments(arguments)
  engines.use_all_cores()
  clips = engines.data(_BATCH.value).clips
  order = np.random.default_rng(0).integers(
    0, len(clips.labels), (_LANES.value, _STEPS.value, _BATCH.value), np.int32
  )
  programs = {
    'one program': [_program(NAMES, order, built_in=False)],
    'a program a variant': [_program((name,), order, built_in=True) for name in NAMES],
  }
  first, compiling, running = {}, {}, {name: [] for name in programs}
  for name, calls in programs.items():
    begun = time.perf_counter()
    first[name] = np.concatenate([call(clips) for call in calls])
    compiling[name] = time.perf_counter() - begun
  np.testing.assert_allclose(*first.values(), rtol=1e-3)
  for _ in range(_ROUNDS.value):
    for name, calls in programs.items():
      begun = time.perf_counter()
      for call in calls:
        call(clips)
      running[name].append((time.perf_counter() - begun) / _STEPS.value)
  print(
    f'{len(NAMES)} variants x {_LANES.value} lanes x {_BATCH.value} clips at {_SIZE.value}x{_SIZE.value}x1\n'
  )
  print(f'{"":<22}{"programs":>10}{"compiling and first call":>27}{"s a step":>12}')
  for name, calls in programs.items():
    print(f'{name:<22}{len(calls):>10}{compiling[name]:>25.1f} s{np.median(running[name]):>12.4f}')


def _program(names, order, built_in):
  """Trains the lanes of `names`; a call returns the losses of its first step, [lanes]."""
  setting = Setting((_SIZE.value, _SIZE.value, 1), len(names) * len(order), _BATCH.value)
  switches = [VARIANTS[name].switches for name in names for _ in order]
  programs, state, mesh = engines.start(setting, np.arange(len(order)), switches)
  filled = np.resize(order, (lanes.padded(setting.lanes, mesh), *order.shape[1:]))
  held = [state]
  train = _built_in(setting, switches[0], mesh) if built_in else programs.train_fn

  def call(clips):
    held[0], losses = train(held[0], clips, filled)
    return np.asarray(losses)[: setting.lanes, 0]

  return call


def _built_in(setting, switches, mesh):
  """`Programs.train` with the switches as constants, not a lane's values."""
  model = engines.model(ops.lowering_for('cpu'))
  to_image = lambda mels, scaling: image.to_image(
    mels, setting.input_shape, scaling, channels='magma', normalisation='train'
  )

  def train(lane, clips, order):

    def step(state, batch):
      new, loss = lanes.train_step(
        model,
        lanes.Training(),
        to_image,
        state._replace(switches=switches),
        clips.mels[batch],
        clips.labels[batch],
      )
      return new._replace(switches=state.switches), loss

    return lax.scan(step, lane, order)

  return lanes._over_lanes(train, lanes_at_once=1, mesh=mesh, donate=True)


if __name__ == '__main__':
  cli.run(main)
