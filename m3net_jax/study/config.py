"""The settings of a study, checked when they are made. Imports nothing slow."""

import dataclasses
import os
from typing import Any

from data_prep.errors import UserError
from m3net_jax.network import options, variants
from m3net_jax.study import hyper, splits
from m3net_jax.study.hyper import Hyper


@dataclasses.dataclass(frozen=True)
class Config:
  """The settings of a study, named like the flags; those of `Hyper` may differ between lanes.

  All except `lowering`, `lanes_at_once`, `devices_per_lane`, `memory_gib` and `margin` decide the
  lanes. The constants of the plateau have no flag; they are saved too, so that a study does not
  continue with another rule.

  Raises:
    UserError: a value is out of range; the message names the flag, its value and the fix.
  """

  variants: tuple[str, ...] = ('full',)
  num_seeds: int = 14
  first_seed: int = 0
  num_epochs: int = 100
  batch_size: int = 64
  learning_rate: float = 1e-3
  min_learning_rate: float = 1e-12
  schedule: str = 'plateau'
  warmup_epochs: float = 0.0
  weight_decay: float = 0.0
  label_smoothing: float = 0.0
  ema: float = 0.0
  shift_early_ms: float = 0.0
  shift_late_ms: float = 0.0
  gain_low_db: float = 0.0
  gain_high_db: float = 0.0
  noise: float = 0.0
  snr_low_db: float = 0.0
  snr_high_db: float = 20.0
  noise_dir: tuple[str, ...] = ()
  spec_augment: float = 0.0
  mixup: float = 0.0
  teacher: str = ''
  teacher_weight: float = 0.0
  sweep: tuple[str, ...] = ()
  plateau_factor: float = 0.5
  plateau_patience: int = 3
  plateau_tolerance: float = 1e-4
  input_shape: tuple[int, int, int] = (256, 256, 3)
  split: str = 'random'
  split_seeds: bool = False
  class_weights: str = 'none'
  select: str = 'accuracy'
  channels: str = 'magma'
  normalisation: str = 'train'
  precision: str = 'float32'
  lowering: str = 'auto'
  lanes_at_once: int = 0
  devices_per_lane: int = 0
  memory_gib: float = 0.0
  margin: float = 1.0

  def __post_init__(self) -> None:
    for name in ('variants', 'input_shape', 'noise_dir', 'sweep'):
      value = getattr(self, name)
      if isinstance(value, str | os.PathLike):
        raise UserError(f'{name}={str(value)!r}: give a list, such as [{str(value)!r}]')
      object.__setattr__(self, name, tuple(value))
    object.__setattr__(self, 'variants', tuple(map(variants.name_of, self.variants)))
    for name, value in vars(self).items():
      object.__setattr__(self, name, _plain(value))
    for name, lowest in (
      ('num_seeds', 1),
      ('first_seed', 0),
      ('num_epochs', 1),
      ('batch_size', 2),
      ('lanes_at_once', 0),
      ('devices_per_lane', 0),
      ('memory_gib', 0),
    ):
      if getattr(self, name) < lowest:
        raise UserError(f'--{name}={getattr(self, name)}: give {lowest} or more')
    for name, choices in (
      ('split', splits.SCHEMES),
      ('schedule', options.SCHEDULES),
      ('class_weights', options.CLASS_WEIGHTS),
      ('select', options.SELECTIONS),
      ('channels', options.CHANNELS),
      ('normalisation', options.NORMALISATIONS),
      ('precision', options.PRECISIONS),
      ('lowering', ('auto', *options.LOWERINGS)),
    ):
      if getattr(self, name) not in choices:
        raise UserError(f'--{name}={getattr(self, name)}: give one of {", ".join(choices)}')
    for setting in self.settings:
      hyper.check(setting, self.swept)
      if not 0 < self.min_learning_rate <= setting.learning_rate:
        raise UserError(
          f'--min_learning_rate={self.min_learning_rate}: give a number above 0, at most '
          f'--learning_rate={setting.learning_rate}'
        )
      if setting.warmup_epochs >= self.num_epochs and self.num_epochs > 1:
        raise UserError(
          f'--warmup_epochs={setting.warmup_epochs:g}: give less than '
          f'--num_epochs={self.num_epochs}'
        )
    for name, part, fix in (
      ('noise_dir', 'noise', '--noise=0.8 (a share of the clips)'),
      ('teacher', 'teacher', '--teacher_weight=0.5'),
    ):
      if getattr(self, name) and part not in self.parts:
        raise UserError(f'--{name}={self.text_of(name)}: is not used: give {fix} too')
    for name in ('snr_low_db', 'snr_high_db'):
      if 'noise' not in self.parts and {getattr(setting, name) for setting in self.settings} != {
        getattr(hyper.PAPER, name)
      }:
        raise UserError(f'--{name}: is not used: give --noise=0.8 (a share of the clips) too')
    if 'teacher' in self.parts and not self.teacher:
      raise UserError('--teacher_weight: has no teacher: give --teacher=WORKDIR, a finished study')
    if not 0 < self.margin < 100:
      raise UserError(f'--margin={self.margin}: give a number of points above 0, such as 1')
    if self.split_seeds and self.split not in splits.DRAWN:
      raise UserError(
        f'--split_seeds: --split={self.split} is given by the corpus, so seeds cannot draw it: '
        'give --split=random or --split=grouped'
      )
    shape = ','.join(map(str, self.input_shape))
    if (
      len(self.input_shape) != 3
      or min(self.input_shape[:2]) < 8
      or self.input_shape[2] not in (1, 3)
    ):
      raise UserError(
        f'--input_shape={shape}: give height,width,channels, such as 64,64,1: height and width 8 '
        'or more, channels 1 or 3'
      )
    if not self.variants:
      raise UserError('--variants=: give at least one, such as full')
    for variant in self.variants:
      variants.architecture_of(variant)
      if self.variants.count(variant) > 1:
        raise UserError(
          f'--variants={",".join(self.variants)}: {variant} is named twice; name it once'
        )

  @property
  def swept(self) -> dict[str, tuple[float, ...]]:
    """The values of every number of the sweep."""
    return hyper.parse(self.sweep)

  @property
  def settings(self) -> list[Hyper]:
    """The numbers of the recipe that lanes have: one setting, or the grid of the sweep."""
    values = Hyper(*(getattr(self, name) for name in Hyper._fields))
    return hyper.grid(values, self.swept)

  @property
  def parts(self) -> frozenset[str]:
    """What a training step computes beside the paper's recipe (`hyper.PARTS`)."""
    return hyper.parts(self.settings)

  def text_of(self, name: str) -> str:
    """The value of a setting as its flag."""
    value = getattr(self, name)
    return ','.join(map(str, value)) if isinstance(value, tuple) else str(value)

  @property
  def seeds(self) -> range:
    """The seeds of every variant and split."""
    return range(self.first_seed, self.first_seed + self.num_seeds)

  def split_seeds_of(self, seeds: range) -> range | None:
    """The seeds that draw their own split: `seeds`, or None if the study has one split for all."""
    return seeds if self.split_seeds else None

  def to_json(self) -> dict[str, Any]:
    """The settings as the values of a JSON object."""
    return dataclasses.asdict(self)


def _plain(value: Any) -> Any:
  """A value of a notebook as config.json keeps it: paths as text, numbers of numpy as Python's."""
  if isinstance(value, tuple):
    return tuple(map(_plain, value))
  if isinstance(value, os.PathLike):
    return os.fspath(value)
  return value.item() if hasattr(value, 'item') else value
