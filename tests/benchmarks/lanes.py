"""How fast lanes train: this engine against the natural JAX form, in one run, interleaved.

    python -m tests.benchmarks.lanes [--size=64] [--channels=1] [--lanes=4] [--batch=32]

The natural form is one Adam step under `vmap` over lanes with `lax.conv_general_dilated` (grouped for the depthwise
layers), which XLA makes one grouped convolution of lanes times the groups. Both train the same network on the same
clips from the same seeds; their losses are compared before anything is timed.
"""
import json
import os
import resource
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from data_prep import cli
from m3net_jax import image, lanes
from m3net_jax.image import Scaling
from m3net_jax.input_pipeline import Clips
from m3net_jax.models import VARIANTS, M3Net, Switches

_SIZE = flags.DEFINE_integer('size', 64, 'height and width of the input')
_CHANNELS = flags.DEFINE_integer('channels', 1, 'channels of the input, 1 or 3')
_LANES = flags.DEFINE_integer('lanes', 4, 'lanes trained')
_BATCH = flags.DEFINE_integer('batch', 32, 'clips a step')
_STEPS = flags.DEFINE_integer('steps', 8, 'steps of the engine a call')
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'rounds; medians are printed')
_ENGINE_ONLY = flags.DEFINE_bool('engine_only', False, 'leave the natural form out: at 256x256x3 it takes minutes a step')
_JSON = flags.DEFINE_string('json', None, 'also write the rows to this file')
CLASSES, CLIPS = 10, 256


def main(arguments: list[str]) -> None:
  cli.no_arguments(arguments)
  jax.config.update('jax_num_cpu_devices', len(os.sched_getaffinity(0)))
  shape = (_SIZE.value, _SIZE.value, _CHANNELS.value)
  rng = np.random.default_rng(0)
  clips = Clips(rng.uniform(-80, 0, (CLIPS, 64, 63)).astype(np.float16), rng.integers(0, CLASSES, CLIPS).astype(np.int32))
  order = rng.integers(0, CLIPS, (_LANES.value, _STEPS.value, _BATCH.value)).astype(np.int32)
  engines = {'engine, scanned epoch': _engine(shape, clips, order)}
  if not _ENGINE_ONLY.value:
    engines['vmap of grouped lax.conv'] = _natural(shape, clips, order)
  losses = [engine() for engine in engines.values()]  # compiles
  for other in losses[1:]:
    np.testing.assert_allclose(losses[0], other, rtol=1e-3)
  seconds = {name: [] for name in engines}
  for _ in range(_ROUNDS.value):
    for name, engine in engines.items():
      begun = time.perf_counter()
      engine()
      seconds[name].append((time.perf_counter() - begun) / (_STEPS.value if 'scanned' in name else 1))
  _show(shape, {name: statistics.median(each) for name, each in seconds.items()})


def _engine(shape, clips, order):
  """The engine as a study runs it; returns the first step's losses [lanes]."""
  mesh = lanes.lane_mesh(len(order))
  count = lanes.padded(len(order), mesh)
  programs = lanes.make_programs(M3Net(VARIANTS['full'], CLASSES, 'shift'), shape, lanes.Training(), channels='magma',
                                 normalisation='train', lanes_at_once=1, mesh=mesh)
  filled = np.resize(order, (count, *order.shape[1:]))
  seeds = np.resize(np.arange(len(order), dtype=np.int32), count)
  held = [programs.init(seeds, Switches(*[np.full(count, True)] * 4), Scaling(np.full(count, np.float32(-40)),
                                                                             np.full(count, np.float32(20))))]

  def step():
    held[0], losses = programs.train(held[0], clips, filled)
    return np.asarray(losses)[:len(order), 0]

  return step


def _natural(shape, clips, order):
  """One step of all lanes under vmap, in the reference lowering; returns its losses [lanes]."""
  model, training = M3Net(VARIANTS['full'], CLASSES, 'conv'), lanes.Training()
  scaling = Scaling(jnp.float32(-40), jnp.float32(20))
  to_image = lambda mels, scaling: image.to_image(mels, shape, scaling, channels='magma', normalisation='train')
  state = jax.vmap(lambda seed: lanes.init_lane(model, shape, training, seed, Switches(), scaling)._replace(
      switches=jnp.zeros(())))(jnp.arange(len(order)))

  @jax.jit
  def step_all(state, clips, batch):
    one = lambda lane, batch: lanes.train_step(model, training, to_image, lane._replace(switches=Switches()),
                                               clips.mels[batch], clips.labels[batch])
    new, losses = jax.vmap(one)(state, batch)
    return new._replace(switches=state.switches), losses

  held = [state]

  def step():
    held[0], losses = step_all(held[0], clips, order[:, 0])
    return np.asarray(losses)

  return step


def _show(shape: tuple[int, int, int], medians: dict[str, float]) -> None:
  fastest = min(medians.values())
  name = 'x'.join(map(str, shape))
  print(f'{_LANES.value} lanes x {_BATCH.value} clips at {name}, an Adam step of all lanes, median of {_ROUNDS.value}\n')
  print(f'{"engine":<28}{"seconds":>10}{"lane-steps/s":>14}{"ratio":>8}')
  for engine, each in medians.items():
    print(f'{engine:<28}{each:>10.4f}{_LANES.value / each:>14.1f}{each / fastest:>8.2f}')
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  print(f'\npeak memory of the process {peak:.1f} GiB')
  if _JSON.value:
    rows = [{'engine': engine, 'input_shape': list(shape), 'lanes': _LANES.value, 'batch': _BATCH.value, 'seconds': each}
            for engine, each in medians.items()]
    with open(_JSON.value, 'w', encoding='utf-8') as file:
      json.dump(rows, file, indent=1)


if __name__ == '__main__':
  cli.run(main)
