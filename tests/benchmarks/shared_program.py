"""Five variants that differ in mirrors and channel weights: one program, or one per variant.

    python -m tests.benchmarks.shared_program [--size=64] [--lanes=2] [--batch=32]

The shared program takes the switches as values of the lanes; in the five programs they are
constants. Both use the engine's scan over steps and map over lanes. The losses of the first step
must agree.
"""

import time

import numpy as np
from absl import flags
from jax import lax

from data_prep import cli
from m3net_jax.network import image, ops
from m3net_jax.network.variants import VARIANTS
from m3net_jax.study import lanes, mapping
from tests.benchmarks import engines
from tests.benchmarks.engines import Setting

_SIZE = flags.DEFINE_integer('size', 64, 'height and width of the input', lower_bound=8)
_LANES = flags.DEFINE_integer('lanes', 2, 'lanes per variant', lower_bound=1)
_BATCH = flags.DEFINE_integer('batch', 32, 'clips per step', lower_bound=2)
_STEPS = flags.DEFINE_integer('steps', 16, 'steps per call', lower_bound=1)
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'rounds; the median is printed', lower_bound=1)
NAMES = ('full', 'plain', 'eca', 'eca_csf', 'eca_csf_vmf')


def main(arguments: list[str], _: flags.FlagValues) -> None:
  cli.no_arguments(arguments)
  engines.use_all_cores()
  clips = engines.make_data(_BATCH.value).clips
  order = np.random.default_rng(0).integers(
    0, len(clips.labels), (_LANES.value, _STEPS.value, _BATCH.value), np.int32
  )
  programs = {
    'one program': [_program(NAMES, order, built_in=False)],
    'one per variant': [_program((name,), order, built_in=True) for name in NAMES],
  }
  losses, compiling, running = {}, {}, {name: [] for name in programs}
  for name, calls in programs.items():
    start = time.perf_counter()
    losses[name] = np.concatenate([call(clips) for call in calls])
    compiling[name] = time.perf_counter() - start
  np.testing.assert_allclose(*losses.values(), rtol=1e-3)
  for _ in range(_ROUNDS.value):
    for name, calls in programs.items():
      start = time.perf_counter()
      for call in calls:
        call(clips)
      running[name].append((time.perf_counter() - start) / _STEPS.value)
  print(
    f'{len(NAMES)} variants x {_LANES.value} lanes x {_BATCH.value} clips '
    f'at {_SIZE.value}x{_SIZE.value}x1\n'
  )
  print(f'{"":<22}{"programs":>10}{"compiling and first call":>27}{"s per step":>12}')
  for name, calls in programs.items():
    print(f'{name:<22}{len(calls):>10}{compiling[name]:>25.1f} s{np.median(running[name]):>12.4f}')


def _program(names, order, built_in):
  """A function that trains the lanes of `names` and returns the first step's losses, [lanes]."""
  setting = Setting((_SIZE.value, _SIZE.value, 1), len(names) * len(order), _BATCH.value)
  switches = [VARIANTS[name].switches for name in names for _ in order]
  programs, state, mesh = engines.start(setting, np.arange(len(order)), switches)
  padded_order = np.resize(order, (mapping.padded(setting.lanes, mesh), *order.shape[1:]))
  train = _built_in(setting, switches[0], mesh) if built_in else programs.train_fn

  def call(clips):
    nonlocal state
    state, losses = train(state, clips, padded_order)
    return np.asarray(losses)[: setting.lanes, 0]

  return call


def _built_in(setting, switches, mesh):
  """`Programs.train_fn` with the switches as constants instead of values of the lanes."""
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

  return mapping.over_lanes(train, lanes_at_once=1, mesh=mesh, donate=True)


if __name__ == '__main__':
  cli.run(main)
