"""The numbers of the training recipe that may differ between lanes, and the grid of a sweep.

All are 0 in the paper's recipe, but the learning rate.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from data_prep.errors import UserError


class Hyper(NamedTuple):
  """The recipe of a lane: numbers, or arrays [lanes].

  Attributes:
    learning_rate: of Adam at the start, after the warm-up.
    warmup_epochs: epochs in which the learning rate rises linearly from 0.
    weight_decay: share of every kernel that a step takes away, times the learning rate (decoupled:
      Loshchilov and Hutter, ICLR 2019).
    label_smoothing: probability that the target gives to all classes alike.
    ema: decay of the moving average of the parameters, which is evaluated then.
    shift_early_ms, shift_late_ms: furthest that a clip is moved in its window, milliseconds.
    gain_low_db, gain_high_db: range of the level by which a clip is changed.
    noise: share of the clips that noise is mixed into.
    snr_low_db, snr_high_db: range of the signal-to-noise ratio of these.
    spec_augment: size of the masks, 1 is the usual one (`augment`).
    mixup: alpha of the beta distribution of the shares.
    teacher_weight: share of the teacher's answers in the loss.
  """

  learning_rate: Any = 1e-3
  warmup_epochs: Any = 0.0
  weight_decay: Any = 0.0
  label_smoothing: Any = 0.0
  ema: Any = 0.0
  shift_early_ms: Any = 0.0
  shift_late_ms: Any = 0.0
  gain_low_db: Any = 0.0
  gain_high_db: Any = 0.0
  noise: Any = 0.0
  snr_low_db: Any = 0.0
  snr_high_db: Any = 20.0
  spec_augment: Any = 0.0
  mixup: Any = 0.0
  teacher_weight: Any = 0.0


PAPER = Hyper()

# What a training step computes only if a lane of its study needs it: by the settings that need it.
PARTS = {
  'label_smoothing': ('label_smoothing',),
  'ema': ('ema',),
  'shift': ('shift_early_ms', 'shift_late_ms'),
  'gain': ('gain_low_db', 'gain_high_db'),
  'noise': ('noise',),
  'spec_augment': ('spec_augment',),
  'mixup': ('mixup',),
  'teacher': ('teacher_weight',),
}

# (lowest, highest, whether the highest is allowed) of every number.
_RANGES = {
  'warmup_epochs': (0, float('inf'), False),
  'weight_decay': (0, 1, True),
  'label_smoothing': (0, 1, False),
  'ema': (0, 1, False),
  'shift_early_ms': (0, float('inf'), False),
  'shift_late_ms': (0, float('inf'), False),
  'gain_low_db': (-80, 0, True),
  'gain_high_db': (0, 40, True),
  'noise': (0, 1, True),
  'snr_low_db': (-40, 100, True),
  'snr_high_db': (-40, 100, True),
  'spec_augment': (0, 3, True),
  'mixup': (0, 10, True),
  'teacher_weight': (0, 1, True),
}


def check(hyper: Hyper, swept: Collection[str] = ()) -> None:
  """Checks the ranges of the numbers of one lane; UserError names the flag, value and fix.

  Args:
    swept: names of the numbers that --sweep gives.
  """
  flag = lambda name: f'--{"sweep=" * (name in swept)}{name}={getattr(hyper, name)}'
  if not 0 < hyper.learning_rate < float('inf'):
    raise UserError(f'{flag("learning_rate")}: give a number above 0')
  for name, (low, high, closed) in _RANGES.items():
    value = getattr(hyper, name)
    if not (low <= value < high or (closed and value == high)):
      end = f'to {high}' if closed else f'to below {high}'
      limit = f'of {low} or more' if high == float('inf') else f'from {low} {end}'
      raise UserError(f'{flag(name)}: give a number {limit}')
  if hyper.snr_low_db > hyper.snr_high_db:
    raise UserError(
      f'{flag("snr_low_db")}: is above {flag("snr_high_db")}: give a '
      'lower --snr_low_db or a higher --snr_high_db'
    )


def stack(settings: Sequence[Hyper]) -> Hyper:
  """The numbers of several lanes, each [lanes] float32."""
  return Hyper(*(np.array(values, np.float32) for values in zip(*settings)))


def parts(settings: Sequence[Hyper]) -> frozenset[str]:
  """The `PARTS` that at least one setting needs."""
  return frozenset(
    part
    for part, names in PARTS.items()
    if any(getattr(hyper, name) for hyper in settings for name in names)
  )


def parse(sweep: Sequence[str]) -> dict[str, tuple[float, ...]]:
  """The values of every swept number.

  Args:
    sweep: texts such as 'learning_rate=3e-4,1e-3'.

  Raises:
    UserError: a text has another form, names what cannot be swept, or gives a value twice.
  """
  values: dict[str, tuple[float, ...]] = {}
  for text in sweep:
    name, equals, listed = text.partition('=')
    try:
      numbers = tuple(map(float, listed.split(',')))
    except ValueError:
      numbers = ()
    if len(numbers) == 1:
      raise UserError(f'--sweep={text}: has one value: give two or more, or --{text}')
    if not equals or not numbers:
      raise UserError(
        f'--sweep={text}: give a setting and its values, such as --sweep=learning_rate=1e-3,3e-3'
      )
    if name not in Hyper._fields:
      raise UserError(f'--sweep={text}: {name} cannot be swept: give {", ".join(Hyper._fields)}')
    if name in values or len(set(numbers)) < len(numbers):
      raise UserError(f'--sweep={text}: {"value" if name not in values else name} is given twice')
    values[name] = numbers
  return values


def grid(hyper: Hyper, swept: Mapping[str, Sequence[float]]) -> list[Hyper]:
  """Every combination of the swept values; the last number changes fastest."""
  return [
    hyper._replace(**dict(zip(swept, values))) for values in itertools.product(*swept.values())
  ]
