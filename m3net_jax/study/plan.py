"""Memory and time that a study would need, measured on a few steps of every cohort (`--plan`)."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import jax

from data_prep.store import Store
from m3net_jax.study import cohorts
from m3net_jax.study.cohorts import Cohort
from m3net_jax.study.config import Config
from m3net_jax.study.ingredients import NONE, Ingredients
from m3net_jax.study.runner import Runner
from m3net_jax.study.splits import Split

_TIMED_CALLS = 2


class Measured(NamedTuple):
  """Memory and time that training a cohort needs.

  Attributes:
    lanes_at_once: lanes that a device works on together.
    devices: number of devices that share the lanes.
    device_bytes: memory of each device, as the compiler plans it.
    step_seconds: time of one step of all lanes.
    seconds: time of all epochs with their validation, without compiling, checkpoints and the test.
  """

  cohort: Cohort
  lanes_at_once: int
  devices: int
  device_bytes: int
  step_seconds: float
  seconds: float


def measure(
  config: Config,
  seed_ranges: Sequence[range],
  store: Store,
  splits: list[Split],
  ingredients: Ingredients = NONE,
) -> list[Measured]:
  """Measures a few steps of every cohort; writes nothing."""
  return [
    _measure(Runner(config, store, splits, cohort, ingredients), config.num_epochs)
    for cohort in cohorts.make(config, seed_ranges, len(splits))
  ]


def _measure(runner: Runner, num_epochs: int) -> Measured:
  state = runner.initial()
  block, steps = next(runner.training_blocks(0, 1))
  device_bytes = runner.check_memory(state, block)
  seconds = []
  for _ in range(1 + _TIMED_CALLS):  # the first call compiles
    start = time.monotonic()
    state, loss = runner.programs.train_fn(state, block.clips, block.order)
    jax.block_until_ready(loss)
    seconds.append(time.monotonic() - start)
  step = min(seconds[1:]) / steps
  runner.scores(state, state.variables, 'validation')
  start = time.monotonic()
  runner.scores(state, state.variables, 'validation')
  epoch = step * runner.steps + time.monotonic() - start
  return Measured(
    runner.cohort, runner.lanes_at_once, runner.num_devices, device_bytes, step, epoch * num_epochs
  )
