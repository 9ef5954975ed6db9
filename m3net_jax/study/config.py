"""The settings of a study: flags in, one validated object out."""
import dataclasses
from typing import Any

from absl import flags

from data_prep.errors import UserError
from m3net_jax.network import image, ops
from m3net_jax.network.variants import VARIANTS, architecture_of
from m3net_jax.study import splits

_VARIANTS = flags.DEFINE_list('variants', ['full'], 'architectures, comma-separated: ' + ', '.join(VARIANTS)
                              + ', or module.path:Name, a Flax module of your own in the place of Mirror Attention')
_NUM_SEEDS = flags.DEFINE_integer('num_seeds', 14, 'lanes per variant and split')
_FIRST_SEED = flags.DEFINE_integer('first_seed', 0, 'the first seed; the others follow it')
_NUM_EPOCHS = flags.DEFINE_integer('num_epochs', 100, 'epochs of every lane')
_BATCH_SIZE = flags.DEFINE_integer('batch_size', 64, 'clips in a step of a lane')
_LEARNING_RATE = flags.DEFINE_float('learning_rate', 1e-3, 'rate of Adam at the start')
_MIN_LEARNING_RATE = flags.DEFINE_float('min_learning_rate', 1e-12,
                                        'lowest rate; a lane\'s rate is halved after three epochs without a lower '
                                        'validation loss')
_INPUT_SHAPE = flags.DEFINE_list('input_shape', ['256', '256', '3'],
                                 'height (frequency), width (time) and channels of the network\'s input')
_SPLIT = flags.DEFINE_enum('split', 'random', splits.SCHEMES,
                           'random: 6:2:2; official: the corpus\'s lists; grouped: no speaker or recording on two '
                           'sides; folds: every official fold tested by lanes of its own')
_CHANNELS = flags.DEFINE_enum('channels', 'magma', image.CHANNELS,
                              'what 3 channels are: the log-Mel as a picture, or with its two differences in time')
_NORMALISATION = flags.DEFINE_enum('normalisation', 'train', image.NORMALISATIONS,
                                   'log-Mel to mean 0 and deviation 1 by the statistics of the training clips, or of '
                                   'each clip')
_LOWERING = flags.DEFINE_enum('lowering', 'auto', ('auto', *ops.LOWERINGS),
                              'how convolutions are computed: conv for accelerators, shift for CPUs, auto chooses')
_LANES_AT_ONCE = flags.DEFINE_integer('lanes_at_once', 0,
                                      'lanes a device works on together (0: one on a CPU, all on an accelerator)')


@dataclasses.dataclass(frozen=True)
class Config:
  """A study's settings, named as the flags; all but the last two decide its result.

  The plateau's rule has no flag, but is on record with the rest: a study never continues under another one.

  Raises:
    UserError: naming the flag, its value and the mend.
  """
  variants: tuple[str, ...] = ('full',)
  num_seeds: int = 14
  first_seed: int = 0
  num_epochs: int = 100
  batch_size: int = 64
  learning_rate: float = 1e-3
  min_learning_rate: float = 1e-12
  plateau_factor: float = 0.5
  plateau_patience: int = 3
  input_shape: tuple[int, int, int] = (256, 256, 3)
  split: str = 'random'
  channels: str = 'magma'
  normalisation: str = 'train'
  lowering: str = 'auto'
  lanes_at_once: int = 0

  def __post_init__(self) -> None:
    for name, lowest in (('num_seeds', 1), ('first_seed', 0), ('num_epochs', 1), ('batch_size', 2),
                         ('lanes_at_once', 0)):
      if getattr(self, name) < lowest:
        raise UserError(f'--{name}={getattr(self, name)}: give {lowest} or more')
    if not self.learning_rate > 0:
      raise UserError(f'--learning_rate={self.learning_rate}: give a number above 0')
    if not 0 < self.min_learning_rate <= self.learning_rate:
      raise UserError(f'--min_learning_rate={self.min_learning_rate}: give a number above 0, at most '
                      f'--learning_rate={self.learning_rate}')
    shape = ','.join(map(str, self.input_shape))
    if len(self.input_shape) != 3 or min(self.input_shape[:2]) < 8 or self.input_shape[2] not in (1, 3):
      raise UserError(f'--input_shape={shape}: give height,width,channels, such as 64,64,1: height and width 8 or more, '
                      'channels 1 or 3')
    if not self.variants:
      raise UserError('--variants=: give at least one, such as full')
    for variant in self.variants:
      architecture_of(variant)
      if self.variants.count(variant) > 1:
        raise UserError(f'--variants={",".join(self.variants)}: {variant} is named twice; name it once')

  @property
  def seeds(self) -> range:
    return range(self.first_seed, self.first_seed + self.num_seeds)

  def to_json(self) -> dict[str, Any]:
    return dataclasses.asdict(self)


def from_flags() -> Config:
  """The settings that the flags ask for."""
  try:
    input_shape = tuple(int(each) for each in _INPUT_SHAPE.value)
  except ValueError as error:
    raise UserError(f'--input_shape={",".join(_INPUT_SHAPE.value)}: give three whole numbers, such as 64,64,1') from error
  return Config(variants=tuple(_VARIANTS.value), num_seeds=_NUM_SEEDS.value, first_seed=_FIRST_SEED.value,
                num_epochs=_NUM_EPOCHS.value, batch_size=_BATCH_SIZE.value, learning_rate=_LEARNING_RATE.value,
                min_learning_rate=_MIN_LEARNING_RATE.value, input_shape=input_shape, split=_SPLIT.value,
                channels=_CHANNELS.value, normalisation=_NORMALISATION.value, lowering=_LOWERING.value,
                lanes_at_once=_LANES_AT_ONCE.value)
