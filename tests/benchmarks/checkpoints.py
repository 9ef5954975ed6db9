"""What a checkpoint costs as a share of training: 14 lanes of `full` at 64x64x1 by default.

    python -m tests.benchmarks.checkpoints --steps=28

Random clips. An epoch is `--steps` training steps, without its validation, and one checkpoint.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags, logging

from m3net_jax.study import checkpoint, cohorts, devices, lanes
from m3net_jax.study.config import Config
from m3net_jax.study.runner import Runner
from m3net_jax.study.splits import Split
from tests.example_store import store_of

_LANES = flags.DEFINE_integer('lanes', 14, 'lanes')
_SIDE = flags.DEFINE_integer('side', 64, 'height and width of the input')
_STEPS = flags.DEFINE_integer('steps', 28, 'training steps in an epoch')
_TIMED = flags.DEFINE_integer('timed', 4, 'training steps that are timed')
_SAVES = flags.DEFINE_integer('saves', 5, 'checkpoints that are written')


def main(argv: list[str]) -> None:
  """Times steps and checkpoints."""
  logging.set_verbosity(logging.ERROR)
  devices.use_all_cores(Path(tempfile.gettempdir()) / 'compiled')
  config = Config(num_seeds=_LANES.value, num_epochs=9, input_shape=(_SIDE.value, _SIDE.value, 1))
  lanes.STEPS_PER_CALL = _TIMED.value
  clips = 64 * _TIMED.value
  rng = np.random.default_rng(0)
  store = store_of([i % 10 for i in range(clips + 2)])
  mels = rng.uniform(-80, 0, (clips + 2, *store.features.shape)).astype(np.float16)
  store = store._replace(mels=mels)
  split = Split('random', *np.split(np.arange(clips + 2), [clips, clips + 1]))
  (cohort,) = cohorts.make(config, [config.seeds], 1)
  runner = Runner(config, store, [split], cohort)
  state, blocks = runner.initial(), runner.training_blocks(0, 9)
  times = []
  for _ in range(3):
    block, steps = next(blocks)
    start = time.perf_counter(), time.process_time()
    state, loss = runner.programs.train_fn(state, block.clips, block.order)
    np.asarray(loss)
    times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
  step = np.min(times[1:], 0) / steps  # the first call compiles
  with tempfile.TemporaryDirectory() as folder:
    checkpoints, saves = checkpoint.Checkpoints(Path(folder)), []
    for number in range(_SAVES.value):
      start = time.perf_counter(), time.process_time()
      checkpoints.save(number, runner.without_fill(state), np.zeros((_LANES.value, 16)))
      saves.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    checkpoints.close()
    size = sum(file.stat().st_size for file in Path(folder).glob(f'{number}/**/*'))
  save = np.median(saves, 0)
  share = save / (save + _STEPS.value * step)
  print(
    f'{_LANES.value} lanes, {_SIDE.value}x{_SIDE.value}x1: a step {step[0]:.3f} s '
    f'(CPU {step[1]:.3f} s), a checkpoint {save[0]:.3f} s (CPU {save[1]:.3f} s), '
    f'{size / 1e6:.1f} MB; with {_STEPS.value} steps an epoch {share[0]:.2%} of the time '
    f'(CPU {share[1]:.2%})'
  )


if __name__ == '__main__':
  app.run(main)
