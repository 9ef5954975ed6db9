"""Trains a study: prepares the features, trains every lane, tests it, writes the workdir.

    python -m m3net_jax.main --flagfile=launch/quick.flags

The same command continues a stopped study from its last checkpoint; a finished one says so and does
nothing.
"""

import dataclasses
import sys
from pathlib import Path

from absl import flags

from data_prep import cli, corpora
from data_prep import main as store_command
from data_prep.errors import UserError
from data_prep.store import Store
from m3net_jax.network import options
from m3net_jax.network.variants import FORMS, RIVALS, VARIANTS
from m3net_jax.study import hosts, splits
from m3net_jax.study.config import Config


def define(values: flags.FlagValues) -> None:
  """Defines the flags of this command: of the store, of the study (`Config`) and its own."""
  store_command.define_store_flags(values)
  flags.adopt_module_key_flags(store_command, values)
  cli.define_path(
    'workdir',
    None,
    'checkpoints and results of this study (default: studies/CORPUS)',
    values=values,
  )
  flags.DEFINE_bool(
    'plan',
    False,
    'train nothing: print the memory and time that the study would take, from a few timed steps, '
    'and the differences that its seeds can show',
    flag_values=values,
  )
  flags.DEFINE_bool(
    'tensorboard',
    False,
    'also write WORKDIR/tensorboard: loss, accuracy and learning rate of every lane by epoch, and '
    'their mean, lowest and highest',
    flag_values=values,
  )
  flags.DEFINE_bool(
    'distributed',
    False,
    'train on several hosts: start this command on each, with a --workdir that all share; SLURM, '
    'Open MPI and Kubernetes say which hosts, or the next three flags',
    flag_values=values,
  )
  flags.DEFINE_string(
    'coordinator', None, 'address:port of the first host, for --distributed', flag_values=values
  )
  flags.DEFINE_integer('num_hosts', None, 'number of hosts', 1, flag_values=values)
  flags.DEFINE_integer('host', None, 'position of this host, from 0', 0, flag_values=values)
  flags.DEFINE_float(
    'checkpoint_minutes',
    10.0,
    'a checkpoint is written at the end of every epoch, and within an epoch after this time',
    lower_bound=0.0,
    flag_values=values,
  )
  flags.DEFINE_list(
    'variants',
    list(Config.variants),
    f'architectures, comma-separated: {", ".join((*VARIANTS, *FORMS))}; other networks: '
    f'{", ".join(RIVALS)}; '
    'or module.path:Name, a Flax module of your own in place of Mirror Attention, or with a field '
    'num_classes in place of the network',
    flag_values=values,
  )
  flags.DEFINE_list(
    'input_shape',
    list(map(str, Config.input_shape)),
    "height (frequency), width (time) and channels of the network's input",
    flag_values=values,
  )
  cli.define_paths(
    'noise_dir',
    "folders of noise recordings for --noise, comma-separated (default: the corpus's own noise, or "
    'if it has none, generated coloured noise)',
    values=values,
  )
  cli.define_path(
    'teacher',
    Config.teacher,
    'workdir of a finished study on the same store and splits, whose lanes teach these ones '
    '(distillation)',
    values=values,
  )
  flags.DEFINE_multi_string(
    'sweep',
    [],
    'a number of the recipe and its values, such as learning_rate=1e-3,3e-3; may be repeated: '
    'trains all combinations, chooses one by validation and tests it alone',
    flag_values=values,
  )
  flags.DEFINE_bool(
    'split_seeds',
    False,
    'every seed draws its own split (of --split=random or grouped), so that the study speaks about '
    'other splits too',
    flag_values=values,
  )
  for name, text in (
    ('num_seeds', 'lanes per variant and split'),
    ('first_seed', 'the first seed; the others follow it'),
    ('num_epochs', 'epochs of every lane'),
    ('batch_size', 'clips per step of a lane'),
    (
      'lanes_at_once',
      'lanes that a device works on together, fewer if they do not fit (0: one on a CPU, all '
      'elsewhere)',
    ),
    (
      'devices_per_lane',
      'devices that share the batches of a lane (0: one on a CPU; elsewhere as many as there are '
      'for each lane)',
    ),
  ):
    flags.DEFINE_integer(name, getattr(Config, name), text, flag_values=values)
  for name, text in (
    ('learning_rate', 'learning rate of Adam at the start'),
    (
      'min_learning_rate',
      "lowest learning rate; with --schedule=plateau a lane's rate is halved after three epochs "
      'without a lower validation loss',
    ),
    ('memory_gib', 'memory that each device may use for training, GiB (0: all it has)'),
    ('margin', 'points within which two variants count as equally good'),
    ('warmup_epochs', 'epochs in which the learning rate rises to --learning_rate'),
    ('weight_decay', 'decoupled weight decay of the kernels'),
    ('label_smoothing', 'probability that the target gives to all classes alike'),
    ('ema', 'decay of a moving average of the parameters, which is then what is evaluated'),
    ('shift_early_ms', 'augmentation: furthest that a clip is moved to an earlier time'),
    ('shift_late_ms', 'augmentation: furthest that a clip is moved to a later time'),
    ('gain_low_db', 'augmentation: lowest change of level, 0 or below'),
    ('gain_high_db', 'augmentation: highest change of level, 0 or above'),
    ('noise', 'augmentation: share of the clips that background noise is mixed into'),
    ('snr_low_db', 'lowest ratio of the energy of a clip to that of its noise'),
    ('snr_high_db', 'highest ratio of the energy of a clip to that of its noise'),
    ('spec_augment', 'augmentation: size of masked bands and stretches; 1 is usual'),
    (
      'mixup',
      'augmentation: alpha of the beta distribution of mixtures of two clips; 0.2 is usual',
    ),
    ('teacher_weight', 'share of the answers of --teacher in the loss'),
  ):
    flags.DEFINE_float(name, getattr(Config, name), text, flag_values=values)
  for name, choices, text in (
    (
      'schedule',
      options.SCHEDULES,
      'learning rate: halved on a plateau of the validation loss, or falling to 0 along a cosine',
    ),
    (
      'split',
      splits.SCHEMES,
      "random: 6:2:2; official: the corpus's lists; grouped: no speaker or recording on two sides; "
      'folds: each official fold is tested in turn',
    ),
    (
      'select',
      options.SELECTIONS,
      'validation measure that chooses the best epoch of a lane, and the best lane',
    ),
    (
      'class_weights',
      options.CLASS_WEIGHTS,
      'weights of the classes in the loss; balanced: rare classes weigh as much as frequent ones',
    ),
    (
      'channels',
      options.CHANNELS,
      'meaning of 3 channels: the log-Mel as a picture, or with its two differences in time',
    ),
    (
      'normalisation',
      options.NORMALISATIONS,
      'log-Mel to mean 0 and deviation 1, by the statistics of the training clips or of each clip',
    ),
    (
      'lowering',
      ('auto', *options.LOWERINGS),
      'how convolutions are computed; auto: shift on a CPU, elsewhere the fastest, which is timed',
    ),
    (
      'precision',
      options.PRECISIONS,
      'of the network; tf32: an accelerator rounds the factors of its products to 10 bits; '
      'bfloat16: the maps between layers have 8 bits',
    ),
  ):
    flags.DEFINE_enum(name, getattr(Config, name), choices, text, flag_values=values)


def config_from(values: flags.FlagValues) -> Config:
  """Makes the settings from the flags; UserError if one is out of range."""
  settings = {name: values[name].value for name in Config.__dataclass_fields__ if name in values}
  try:
    settings['input_shape'] = tuple(map(int, values.input_shape))
  except ValueError as error:
    raise UserError(
      f'--input_shape={",".join(values.input_shape)}: give three whole numbers, such as 64,64,1'
    ) from error
  return Config(**settings)


def with_parts(config: Config, store: Store, values: flags.FlagValues) -> Config:
  """The settings with --split=official if the user's own recordings come as three parts.

  A --split that was given stays. One line says what happens to the parts.
  """
  if values.corpus not in corpora.OWN or not splits.has_parts(store):
    return config
  if not values['split'].present:
    config = dataclasses.replace(config, split='official')
  keeps = 'keeps to that' if config.split == 'official' else 'does not keep to that'
  print(
    f'{values.corpus}: the recordings come as train, validation and test clips; '
    f'--split={config.split} {keeps}',
    file=sys.stderr,
  )
  return config


def main(arguments: list[str], values: flags.FlagValues) -> None:
  """Trains or plans the study that the flags describe."""
  cli.no_arguments(arguments)
  config = config_from(values)
  path = Path(values.workdir or f'studies/{values.corpus}')
  together = ('coordinator', 'num_hosts', 'host')
  if not values.distributed:
    if given := [name for name in together if values[name].value is not None]:
      raise UserError(f'--{given[0]}={values[given[0]].value}: is not used: give --distributed too')
    _train(config, path, values)
    return
  if values.plan:
    raise UserError('--plan: plans the work of one process: leave --distributed out')
  with hosts.joined(
    path.absolute().parent / '.compiled', *(values[name].value for name in together)
  ):
    _train(config, path, values)


def _train(config: Config, path: Path, values: flags.FlagValues) -> None:
  with hosts.first_goes():
    store_path = store_command.prepare_from(values)
  from m3net_jax import api  # slow to import: not for --help

  store = api.load_store(store_path)
  config = with_parts(config, store, values)
  if values.plan:
    print(api.plan(store, path, config))
    return
  with api.owned(path):
    study = api.create(store, path, config)
    if study.finished:
      print(f'{path}: this study is finished; give another --workdir to train a new one\n')
      print(study.summary())
      return
    written = study.train(
      store, tensorboard=values.tensorboard, checkpoint_minutes=values.checkpoint_minutes
    )
  print(f'\n{study.summary()}\n')
  print('\n'.join(f'wrote {file}' for file in written))


if __name__ == '__main__':
  cli.run(main, define)
