"""Exports the best lane as int8 for microcontrollers and checks it against the trained network.

    python -m m3net_jax.export --workdir=studies/quick --out_dir=bundles/quick

The folder is written only if the converted files are as good as the trained network on all
validation clips. The test split is read once, afterwards, for the table. Run again, the folder is
made anew.
"""

from absl import flags

from data_prep import cli, surroundings
from m3net_jax.network import options


def define(values: flags.FlagValues) -> None:
  """Defines the flags of this command."""
  cli.define_path('workdir', None, 'the finished study', values=values, required=True)
  cli.define_path('out_dir', None, 'the folder to write', values=values, required=True)
  flags.DEFINE_string(
    'variant',
    None,
    'variant to export (default: the one with the best validation accuracy)',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'seed',
    None,
    'seed of the lane to export (default: the one with the best validation accuracy)',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'calibration_clips',
    300,
    'training clips that set the ranges of the integer models',
    lower_bound=1,
    flag_values=values,
  )
  flags.DEFINE_float(
    'max_drop',
    0.5,
    'largest allowed loss of accuracy of an integer model on the validation clips, in points; '
    'above it nothing is written',
    lower_bound=0.0,
    upper_bound=100.0,
    flag_values=values,
  )
  flags.DEFINE_enum(
    'mirrors',
    'reverse',
    options.MIRRORS,
    'how the models mirror maps: reverse, by REVERSE_V2; slices, by slices that are joined, for a '
    'TFLite Micro of before July 2025 and for Ethos-U55 and U65',
    flag_values=values,
  )
  flags.DEFINE_bool(
    'int16x8', True, 'also make an int16x8 model, which some operators lack', flag_values=values
  )


def main(arguments: list[str], values: flags.FlagValues) -> None:
  """Exports the lane that the flags ask for and prints how its files compare with it."""
  cli.no_arguments(arguments)
  from m3net_jax import api  # slow to import: not for --help
  from m3net_jax.reporting import exported

  study = api.open_study(values.workdir)
  lane = study.best_lane(values.variant, values.seed)
  variant, seed, split = lane.name.variant, lane.name.seed, lane.row['split']
  accuracy = f'{100 * lane.row["validation_accuracy"]:.2f} %'
  print(f'{variant}, seed {seed}, {split} split: validation accuracy {accuracy}', flush=True)
  content = study.export(
    values.out_dir,
    lane,
    calibration_clips=values.calibration_clips,
    max_drop=values.max_drop / 100,
    int16x8=values.int16x8,
    mirrors=values.mirrors,
  )
  print(f'\n{exported.text(content)}\n\n{exported.accepted(content)}\n')
  if surroundings.can_write(study.path):
    print(f'wrote {values.out_dir} and {study.path / "export.json"}')
  else:
    print(f'wrote {values.out_dir}; {study.path} is read-only: its report stays as it is')


if __name__ == '__main__':
  cli.run(main, define)
