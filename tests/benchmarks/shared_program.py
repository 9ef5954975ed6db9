"""Five variants that differ in mirrors and channel weights: one program for all, against one for each.

    python -m tests.benchmarks.shared_program [--size=64] [--lanes=2] [--batch=32]

The one program takes the switches as a lane's values; the five have them built in. Both run on the engine's own scan
over steps and map over lanes; losses of the first step are compared before anything is printed.
"""
import os
import time

import jax
import numpy as np
from absl import flags
from jax import lax

from data_prep import cli
from m3net_jax import image, lanes
from m3net_jax.image import Scaling
from m3net_jax.input_pipeline import Clips
from m3net_jax.models import VARIANTS, M3Net, Switches

_SIZE = flags.DEFINE_integer('size', 64, 'height and width of the input')
_LANES = flags.DEFINE_integer('lanes', 2, 'lanes a variant')
_BATCH = flags.DEFINE_integer('batch', 32, 'clips a step')
_STEPS = flags.DEFINE_integer('steps', 16, 'steps a call')
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'rounds; the median is printed')
NAMES = ('full', 'plain', 'eca', 'eca_csf', 'eca_csf_vmf')
CLASSES, CLIPS = 10, 256


def main(arguments: list[str]) -> None:
  cli.no_arguments(arguments)
  jax.config.update('jax_num_cpu_devices', len(os.sched_getaffinity(0)))
  rng = np.random.default_rng(0)
  clips = Clips(rng.uniform(-80, 0, (CLIPS, 64, 64)).astype(np.float16), rng.integers(0, CLASSES, CLIPS).astype(np.int32))
  order = rng.integers(0, CLIPS, (_LANES.value, _STEPS.value, _BATCH.value)).astype(np.int32)
  programs = {'one program': [_program(NAMES, order, built_in=False)],
              'a program a variant': [_program((name,), order, built_in=True) for name in NAMES]}
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
  print(f'{len(NAMES)} variants x {_LANES.value} lanes x {_BATCH.value} clips at {_SIZE.value}x{_SIZE.value}x1\n')
  print(f'{"":<22}{"programs":>10}{"compiling and first call":>27}{"s a step":>12}')
  for name, calls in programs.items():
    print(f'{name:<22}{len(calls):>10}{compiling[name]:>25.1f} s{np.median(running[name]):>12.4f}')


def _program(names, order, built_in):
  """Trains the lanes of `names`; a call returns the losses of its first step, [lanes]."""
  shape, training = (_SIZE.value, _SIZE.value, 1), lanes.Training()
  order = np.tile(order, (len(names), 1, 1))
  mesh = lanes.lane_mesh(len(order))
  count = lanes.padded(len(order), mesh)
  filled = np.resize(order, (count, *order.shape[1:]))
  seeds = np.resize(np.arange(_LANES.value, dtype=np.int32), count)
  switches = [VARIANTS[names[(i // _LANES.value) % len(names)]].switches for i in range(count)]
  model = M3Net(VARIANTS['full'], CLASSES, 'shift')
  programs = lanes.make_programs(model, shape, training, channels='magma', normalisation='train', lanes_at_once=1, mesh=mesh)
  scaling = Scaling(np.full(count, np.float32(-40)), np.full(count, np.float32(20)))
  held = [programs.init(seeds, Switches(*map(np.array, zip(*switches))), scaling)]
  train = _built_in(model, shape, training, VARIANTS[names[0]].switches, mesh) if built_in else programs.train

  def call(clips):
    held[0], losses = train(held[0], clips, filled)
    return np.asarray(losses)[:len(order), 0]

  return call


def _built_in(model, shape, training, switches, mesh):
  to_image = lambda mels, scaling: image.to_image(mels, shape, scaling, channels='magma', normalisation='train')

  def train(lane, clips, order):

    def step(state, batch):
      new, loss = lanes.train_step(model, training, to_image, state._replace(switches=switches), clips.mels[batch],
                                   clips.labels[batch])
      return new._replace(switches=state.switches), loss

    return lax.scan(step, lane, order)

  return lanes._over_lanes(train, lanes_at_once=1, mesh=mesh, donate=True)


if __name__ == '__main__':
  cli.run(main)
