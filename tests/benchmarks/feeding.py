"""How long training waits for data, and how much faster the pipeline is than training.

    python -m tests.benchmarks.feeding [--lanes=14] [--batch=64] [--size=64] [--clips=20000]
        [--orders=3000,100000,1000000]

First, without training, the time of the order of one block for corpora of several sizes: as a study
computes it, with grain's function called for each position, and with a permutation of all training
clips for each epoch, as before November 2026. Rounds go through the three in turn; medians.

Then blocks of a study's size go through the input pipeline into the training program, once with the
complete store on the device, if a study keeps it there, and once streamed from disk, with the order
of a study and with that of permutations. Waiting is the time between the return of one call of the
program and the next call. Then the pipeline runs alone, to measure how many clips it can deliver; a
clip is counted once per lane.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
from absl import flags
from grain.experimental import index_shuffle
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
_ORDERS = flags.DEFINE_list(
  'orders', ['3000', '100000', '1000000'], 'clips of the corpora whose orders are timed'
)
_ROUNDS = flags.DEFINE_integer('rounds', 9, 'timed blocks of every order', lower_bound=1)
_CALLS = flags.DEFINE_integer('calls', 6, 'timed calls of the training program', lower_bound=1)
MELS, FRAMES = 128, 32  # of one second at 16 kHz


def main(arguments: list[str], _: flags.FlagValues) -> None:
  cli.no_arguments(arguments)
  engines.use_all_cores()
  block = f'{_LANES.value} lanes x {lanes.STEPS_PER_CALL} steps x {_BATCH.value} clips'
  print(f'The order of a block of {block}, in milliseconds:\n')
  print(f'{"clips":>10}{"study":>10}{"grain":>10}{"permuted":>10}')
  for clips in map(int, _ORDERS.value):
    print(f'{clips:>10,}' + ''.join(f'{1000 * s:>10.2f}' for s in _seconds(clips)), flush=True)
  print(
    f'\n{_LANES.value} lanes x {_BATCH.value} clips at {_SIZE.value}x{_SIZE.value}x1, '
    f'{_CLIPS.value} clips, {_CALLS.value} calls of {lanes.STEPS_PER_CALL} steps\n'
  )
  print(f'{"":<22}{"waits":>8}{"used, clips/s":>16}{"fed, clips/s":>16}{"ratio":>8}')
  with tempfile.TemporaryDirectory() as folder:
    store = _store(Path(folder))
    fits = store.mels.nbytes <= input_pipeline.RESIDENT_BYTES
    for name, resident in (('resident', store.mels.nbytes), ('streamed', 0))[not fits :]:
      for order_name, order in (('', order_of), (', permuted', _permuted)):
        waits, used, fed = _measure(store, resident, order)
        print(
          f'{name + order_name:<22}{waits:>8.2%}{used:>16,.0f}{fed:>16,.0f}{fed / used:>8.1f}',
          flush=True,
        )


def _seconds(clips: int) -> list[float]:
  """Seconds of the order of a block: as in a study, with grain's function, with permutations."""
  contenders = (order_of, _one_by_one, _permuted)
  blocks = [
    _orders(_LANES.value, lanes.STEPS_PER_CALL, clips, order, 0, 1 + _ROUNDS.value)
    for order in contenders
  ]
  seconds: list[list[float]] = [[], [], []]
  for number in range(1 + _ROUNDS.value):
    for orders, measured in zip(blocks, seconds):
      start = time.perf_counter()
      orders[number]()
      measured.append(time.perf_counter() - start)
  return [statistics.median(measured[1:]) for measured in seconds]


def _one_by_one(
  train: np.ndarray, seed: int, first_step: int, steps: int, batch_size: int
) -> np.ndarray:
  """`order_of` with grain's own function, at its fastest: without objects of a pipeline."""
  seed, length = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0]), len(train)
  order = [
    index_shuffle(position % length, length - 1, (seed + position // length) % 2**32, 4)
    for position in range(first_step * batch_size, (first_step + steps) * batch_size)
  ]
  return train[order].reshape(steps, batch_size)


def _permuted(
  train: np.ndarray, seed: int, first_step: int, steps: int, batch_size: int
) -> np.ndarray:
  """The order of a lane before grain's shuffle: a permutation of all its clips for each epoch."""
  first, last = first_step * batch_size, (first_step + steps) * batch_size
  epochs = range(first // len(train), -(-last // len(train)))
  permuted = [np.random.default_rng([seed, epoch]).permutation(train) for epoch in epochs]
  start = first - epochs[0] * len(train)
  return np.concatenate(permuted)[start : start + last - first].reshape(steps, batch_size)


def _measure(
  store: SimpleNamespace, resident_bytes: int, order: Callable[..., np.ndarray]
) -> tuple[float, float, float]:
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
  calls = 1 + _CALLS.value
  blocks = feeder.blocks(_orders(count, steps, len(store.labels), order, 0, calls))
  last_end = time.perf_counter()
  for number in range(calls):
    block = next(blocks)
    start = time.perf_counter()
    state, losses = programs.train_fn(state, block.clips, block.order)
    np.asarray(losses)
    end = time.perf_counter()
    if number:  # the first call compiles
      waited, trained = waited + start - last_end, trained + end - start
    last_end = end
  blocks = feeder.blocks(_orders(count, steps, len(store.labels), order, calls, calls))
  next(blocks)  # starts the thread of the pipeline
  start = time.perf_counter()
  for block in blocks:
    jax.block_until_ready(block.clips)
  clips = _CALLS.value * count * steps * _BATCH.value
  return waited / (waited + trained), clips / trained, clips / (time.perf_counter() - start)


def _orders(
  count: int,
  steps: int,
  clips: int,
  order: Callable[..., np.ndarray],
  first_call: int,
  calls: int,
) -> list[Callable[[], np.ndarray]]:
  """The orders of the blocks of some calls: functions for `Feeder.blocks`."""
  train = np.random.default_rng(0).permutation(clips)[: clips * 6 // 10]
  of_call = lambda call: np.stack(
    [order(train, seed, call * steps, steps, _BATCH.value) for seed in range(count)]
  )
  return [lambda call=call: of_call(call) for call in range(first_call, first_call + calls)]


def _store(folder: Path) -> SimpleNamespace:
  """The parts of a store that the pipeline uses: arrays on disk, and labels."""
  rng = np.random.default_rng(0)
  shape = (_CLIPS.value, MELS, FRAMES)
  mels = np.lib.format.open_memmap(folder / 'mels.npy', 'w+', np.float16, shape)
  some = rng.uniform(-80, 0, (1024, MELS, FRAMES)).astype(np.float16)
  for start in range(0, len(mels), len(some)):
    mels[start : start + len(some)] = some[: len(mels) - start]
  mels.flush()
  return SimpleNamespace(
    mels=np.load(folder / 'mels.npy', mmap_mode='r'),
    labels=rng.integers(0, engines.CLASSES, _CLIPS.value).astype(np.int32),
  )


if __name__ == '__main__':
  cli.run(main)
