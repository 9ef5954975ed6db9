"""How long training waits for data, and how much faster the pipeline is than training.

    python -m tests.benchmarks.feeding [--lanes=14] [--batch=64] [--size=64] [--clips=20000]

Blocks of a study's size go through the input pipeline into the training program, once with the
complete store on the device and once streamed from disk. Waiting is the time between the return of
one call of the program and the next call. Then the pipeline runs alone, to measure how many clips
it can deliver; a clip is counted once per lane.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
from absl import flags
from jax.sharding import NamedSharding, PartitionSpec

from data_prep import cli
from m3net_jax.network.variants import Switches
from m3net_jax.study import input_pipeline, lanes, mapping
from m3net_jax.study.input_pipeline import Feeder, order_of
from tests.benchmarks import engines

_LANES = flags.DEFINE_integer('lanes', 14, 'lanes trained', lower_bound=1)
_BATCH = flags.DEFINE_integer('batch', 64, 'clips per step', lower_bound=2)
_SIZE = flags.DEFINE_integer('size', 64, 'height and width of the input', lower_bound=8)
_CLIPS = flags.DEFINE_integer(
  'clips', 20000, 'clips of the store; 60 % are for training', lower_bound=100
)
_CALLS = flags.DEFINE_integer('calls', 6, 'timed calls of the training program', lower_bound=1)
MELS, FRAMES = 128, 32  # of one second at 16 kHz


def main(arguments: list[str], _: flags.FlagValues) -> None:
  cli.no_arguments(arguments)
  engines.use_all_cores()
  print(
    f'{_LANES.value} lanes x {_BATCH.value} clips at {_SIZE.value}x{_SIZE.value}x1, '
    f'{_CLIPS.value} clips, {_CALLS.value} calls of {lanes.STEPS_PER_CALL} steps\n'
  )
  print(f'{"":<12}{"waits":>8}{"used, clips/s":>16}{"fed, clips/s":>16}{"ratio":>8}')
  with tempfile.TemporaryDirectory() as folder:
    store = _store(Path(folder))
    for name, resident in (('resident', input_pipeline.RESIDENT_BYTES), ('streamed', 0)):
      waits, used, fed = _measure(store, resident)
      print(f'{name:<12}{waits:>8.2%}{used:>16,.0f}{fed:>16,.0f}{fed / used:>8.1f}', flush=True)


def _measure(store: SimpleNamespace, resident_bytes: int) -> tuple[float, float, float]:
  """Fraction of time that training waits; clips per second that training uses and that are fed."""
  setting = engines.Setting((_SIZE.value, _SIZE.value, 1), _LANES.value, _BATCH.value)
  programs, state, mesh = engines.start(
    setting, np.arange(_LANES.value), [Switches()] * _LANES.value
  )
  count = mapping.padded(_LANES.value, mesh)
  feeder = Feeder(
    store,
    lambda tree: jax.device_put(tree, NamedSharding(mesh, PartitionSpec())),
    resident_bytes=resident_bytes,
  )
  steps = feeder.steps_per_block(count, _BATCH.value, lanes.STEPS_PER_CALL)
  waited = trained = 0.0
  orders = _orders(count, steps)
  blocks = feeder.blocks(orders)
  last_end = time.perf_counter()
  for number in range(len(orders)):
    block = next(blocks)
    start = time.perf_counter()
    state, losses = programs.train_fn(state, block.clips, block.order)
    np.asarray(losses)
    end = time.perf_counter()
    if number:  # the first call compiles
      waited, trained = waited + start - last_end, trained + end - start
    last_end = end
  blocks = feeder.blocks(orders)
  next(blocks)  # starts the thread of the pipeline
  start = time.perf_counter()
  for block in blocks:
    jax.block_until_ready(block.clips)
  clips = _CALLS.value * count * steps * _BATCH.value
  return waited / (waited + trained), clips / trained, clips / (time.perf_counter() - start)


def _orders(count: int, steps: int) -> list[Callable[[], np.ndarray]]:
  train = np.random.default_rng(0).permutation(_CLIPS.value)[: _CLIPS.value * 6 // 10]
  order = lambda call: np.stack(
    [order_of(train, seed, call * steps, steps, _BATCH.value) for seed in range(count)]
  )
  return [lambda call=call: order(call) for call in range(1 + _CALLS.value)]


def _store(folder: Path) -> SimpleNamespace:
  """The parts of a store that the pipeline uses: arrays on disk, and labels."""
  rng = np.random.default_rng(0)
  shape = (_CLIPS.value, MELS, FRAMES)
  mels = np.lib.format.open_memmap(folder / 'mels.npy', 'w+', np.float16, shape)
  for start in range(0, len(mels), 1024):
    mels[start : start + 1024] = rng.uniform(-80, 0, mels[start : start + 1024].shape)
  mels.flush()
  return SimpleNamespace(
    mels=np.load(folder / 'mels.npy', mmap_mode='r'),
    labels=rng.integers(0, engines.CLASSES, _CLIPS.value).astype(np.int32),
  )


if __name__ == '__main__':
  cli.run(main)
