"""How a study is computed on its devices: lanes at once that fit, and the fastest lowering.

Nothing here decides a lane but for its last bits.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from data_prep.errors import UserError
from data_prep.store import Store
from m3net_jax.network import cost, ops, options
from m3net_jax.study import cohorts, devices, hosts
from m3net_jax.study.cohorts import Cohort
from m3net_jax.study.config import Config
from m3net_jax.study.devices import TooLarge
from m3net_jax.study.ingredients import NONE, Ingredients
from m3net_jax.study.runner import Runner
from m3net_jax.study.splits import Split

_TIMED_CALLS = 2
Result = TypeVar('Result')


class Timed(NamedTuple):
  """Some training steps of a cohort.

  Attributes:
    runner: that took them.
    device_bytes: memory of each device, as the compiler plans it.
    step_seconds: time of one step of all lanes.
    state: all lanes after them.
  """

  runner: Runner
  device_bytes: int
  step_seconds: float
  state: Any


class DoesNotFit(UserError):
  """Not even one lane at a time fits; `device_bytes` is what it would take, None if unknown."""

  def __init__(self, message: str, device_bytes: int | None):
    super().__init__(message)
    self.device_bytes = device_bytes


def fewer_until_it_fits(
  use: Callable[[Runner], Result],
  make_runner: Callable[[int | None], Runner],
  note: Callable[[str], None],
) -> Result:
  """Uses a runner, and one with fewer lanes at once for as long as a device has too little memory.

  Args:
    use: raises TooLarge or JAX's own error if there is too little.
    make_runner: of the largest number of lanes at once; None: that of the settings.
    note: gets one line for each runner that did not fit.

  Raises:
    DoesNotFit: one lane does not fit.
  """
  at_once, needed = None, None
  while True:
    runner = make_runner(at_once)
    try:
      return use(runner)
    except TooLarge as error:
      needed, limit = error.needed, error.limit
      reason = f'would take {needed / 2**30:.2f} GiB of each device, of {limit / 2**30:.2f}'
      share = limit / needed
    except jax.errors.JaxRuntimeError as error:
      # Of several hosts this one alone would begin again.
      if not devices.is_out_of_memory(error) or jax.process_count() > 1:
        raise
      reason, share = 'took more memory than each device has', 0.5
    before = runner.lanes_at_once
    if before == 1:
      raise DoesNotFit(
        f'--batch_size={runner.batch_size}: training {reason}, with one lane at a time: give less',
        needed,
      )
    at_once = max(1, min(before // 2, int(before * share)))
    note(f'{before} lanes at once: training {reason}: going on with {at_once}')
    del runner  # and what it holds of the device


def timed(runner: Runner) -> Timed:
  """Times a few training steps and discards them.

  Raises:
    TooLarge: the compiler plans more memory than there is.
  """
  state = runner.initial()
  block, steps = next(runner.training_blocks(0, 1))
  device_bytes = runner.check_memory(state, block)
  seconds = []
  for _ in range(1 + _TIMED_CALLS):  # the first call compiles
    start = time.monotonic()
    state, loss = runner.programs.train_fn(state, block.clips, block.order)
    jax.block_until_ready(loss)
    seconds.append(time.monotonic() - start)
  return Timed(runner, device_bytes, min(seconds[1:]) / steps, state)


def lowering(
  config: Config,
  seed_ranges: Sequence[range],
  store: Store,
  splits: list[Split],
  ingredients: Ingredients = NONE,
  before: Sequence[dict[str, Any]] = (),
  note: Callable[[str], None] = print,
) -> str:
  """The lowering of a study: that of the settings, or with 'auto' the one for these devices.

  On accelerators the candidates are timed, unless the study was computed on such a device before.

  Args:
    before: what computed the study (`devices.environment`), in order.
    note: gets one line with the times.
  """
  if config.lowering != 'auto':
    return config.lowering
  if jax.default_backend() == 'cpu':
    return ops.lowering_for('cpu')
  if before and before[-1]['device'] == devices.name():
    return before[-1]['lowering']
  shape, clips = config.input_shape, config.batch_size
  work = lambda cohort: (
    len(cohort.names) * cost.step_flops(cohort.program, len(store.classes), shape, clips)
  )
  largest = max(cohorts.make(config, seed_ranges, len(splits)), key=work)
  return fastest(config, largest, store, splits, ingredients, note)


def fastest(
  config: Config,
  cohort: Cohort,
  store: Store,
  splits: list[Split],
  ingredients: Ingredients = NONE,
  note: Callable[[str], None] = print,
  candidates: Sequence[str] = options.LOWERINGS,
) -> str:
  """The lowering whose training step of a cohort takes the least time here."""
  seconds = {}
  for candidate in candidates:
    tried = dataclasses.replace(config, lowering=candidate)
    seconds[candidate] = fewer_until_it_fits(
      timed,
      lambda at_once, tried=tried: Runner(tried, store, splits, cohort, ingredients, at_once),
      lambda line: None,
    ).step_seconds
  chosen = candidates[hosts.of_first(int(np.argmin([*seconds.values()])))]
  times = ', '.join(f'{name} {1e3 * value:.3g}' for name, value in seconds.items())
  note(f'--lowering=auto: {chosen} (ms a step of {len(cohort.names)} lanes: {times})')
  return chosen
