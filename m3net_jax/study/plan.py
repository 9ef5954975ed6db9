"""Memory and time that a study would need, measured on a few steps of every cohort (`--plan`)."""

import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from data_prep.store import Store
from m3net_jax.study import cohorts, tuning
from m3net_jax.study.cohorts import Cohort
from m3net_jax.study.config import Config
from m3net_jax.study.ingredients import NONE, Ingredients
from m3net_jax.study.runner import Runner
from m3net_jax.study.splits import Split


class Measured(NamedTuple):
  """Memory and time that training a cohort needs.

  Attributes:
    lanes_at_once: lanes that a device works on together.
    devices: number of devices that share the lanes.
    device_bytes: memory of each device, as the compiler plans it; None: unknown.
    step_seconds: time of one step of all lanes; None if not even one lane at a time fits.
    seconds: time of all epochs with their validation, without compiling, checkpoints and the test.
  """

  cohort: Cohort
  lanes_at_once: int
  devices: int
  device_bytes: int | None
  step_seconds: float | None
  seconds: float | None


def measure(
  config: Config,
  seed_ranges: Sequence[range],
  store: Store,
  splits: list[Split],
  ingredients: Ingredients = NONE,
) -> list[Measured]:
  """Measures a few steps of every cohort; writes nothing but lines on standard error."""
  note = lambda line: print(line, file=sys.stderr)
  rows = []
  for cohort in cohorts.make(config, seed_ranges, len(splits)):
    make_runner = lambda at_once, cohort=cohort: Runner(
      config, store, splits, cohort, ingredients, at_once
    )
    try:
      if not rows:
        config = tuning.settled(config, seed_ranges, store, splits, ingredients, note=note)
      rows.append(
        tuning.fewer_until_it_fits(
          lambda runner: _measure(runner, config.num_epochs), make_runner, note
        )
      )
    except tuning.DoesNotFit as error:
      note(str(error))
      devices = make_runner(1).num_devices
      rows.append(Measured(cohort, 1, devices, error.device_bytes, None, None))
  return rows


def _measure(runner: Runner, num_epochs: int) -> Measured:
  timed = tuning.timed(runner)
  step, state = timed.step_seconds, timed.state
  runner.scores(state, state.variables, 'validation')
  start = time.monotonic()
  runner.scores(state, state.variables, 'validation')
  epoch = step * runner.steps + time.monotonic() - start
  return Measured(
    runner.cohort,
    runner.lanes_at_once,
    runner.num_devices,
    timed.device_bytes,
    step,
    epoch * num_epochs,
  )
