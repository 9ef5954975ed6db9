"""How a study is computed on its devices: lanes at once that fit, and the fastest lowering.

Nothing here decides a lane but for its last bits.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax

from data_prep.errors import UserError
from data_prep.store import Store
from m3net_jax.network import cost, options
from m3net_jax.study import cohorts, devices, hosts
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
      reason = f'would take {_size(needed)} of each device, which may use {_size(limit)}'
      share = limit / needed
    except jax.errors.JaxRuntimeError as error:
      # Of several hosts this one alone would begin again.
      if not devices.is_out_of_memory(error) or jax.process_count() > 1:
        raise
      reason, share = 'took more memory than each device has', 0.5
    before = runner.lanes_at_once
    if before == 1:
      raise DoesNotFit(
        f'--batch_size={runner.batch_size}: training {reason}, one lane after another: give less',
        needed,
      )
    at_once = max(1, min(before // 2, int(before * share)))
    note(f'--lanes_at_once={before}: training {reason}: going on with {at_once}')
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


def settled(
  config: Config,
  seed_ranges: Sequence[range],
  store: Store,
  splits: list[Split],
  ingredients: Ingredients = NONE,
  before: Sequence[dict[str, Any]] = (),
  note: Callable[[str], None] = print,
  backend: str | None = None,
) -> Config:
  """The settings with the lowering and the lanes at once that the study is computed with.

  What the settings leave open is measured on an accelerator, unless the study was computed on such
  a device before.

  Args:
    before: what computed the study (`devices.environment`), in order.
    note: gets one line with the times.
    backend: of JAX (default: the one that computes).
  """
  if (backend or jax.default_backend()) == 'cpu':
    return devices.unmeasured(config)
  if before and before[-1]['device'] == devices.name():
    known = before[-1]
    lowering = known['lowering'] if config.lowering == 'auto' else config.lowering
    at_once = config.lanes_at_once or known['lanes_at_once']
    return dataclasses.replace(config, lowering=lowering, lanes_at_once=at_once)
  shape, clips = config.input_shape, config.batch_size
  work = lambda cohort: (
    len(cohort.names) * cost.step_flops(cohort.program, len(store.classes), shape, clips)
  )
  largest = max(cohorts.make(config, seed_ranges, len(splits)), key=work)
  make_runner = lambda config, at_once: Runner(config, store, splits, largest, ingredients, at_once)
  return fastest(config, make_runner, note)


def fastest(
  config: Config,
  make_runner: Callable[[Config, int | None], Runner],
  note: Callable[[str], None] = print,
) -> Config:
  """The settings whose training steps take the least time here.

  First every lowering is timed with the lanes at once of the settings (0: all that fit), then, if
  the settings leave that open, the fastest one with one lane after another, which needs less
  memory and on some devices less time.
  """
  seconds = {}

  def measure(lowering: str, lanes_at_once: int) -> None:
    tried = dataclasses.replace(config, lowering=lowering, lanes_at_once=lanes_at_once)
    one = fewer_until_it_fits(
      timed, lambda at_once: make_runner(tried, at_once), note=lambda line: None
    )
    seconds[lowering, one.runner.lanes_at_once] = one.step_seconds

  best = lambda: min(seconds, key=lambda choice: seconds[choice])
  if config.lowering != 'auto' and config.lanes_at_once:
    return config
  for lowering in options.LOWERINGS if config.lowering == 'auto' else (config.lowering,):
    measure(lowering, config.lanes_at_once)
  if not config.lanes_at_once:
    measure(best()[0], 1)
  lowering, at_once = [*seconds][hosts.of_first([*seconds].index(best()))]
  times = ', '.join(
    f'{lowering} x {at_once} {1e3 * value:.3g}' for (lowering, at_once), value in seconds.items()
  )
  note(f'computed by {lowering}, {at_once} lanes at once (ms a step: {times})')
  return dataclasses.replace(config, lowering=lowering, lanes_at_once=at_once)


def _size(number: float) -> str:
  return f'{number / 2**30:.1f} GiB' if number >= 2**29 else f'{number / 2**20:.1f} MiB'
