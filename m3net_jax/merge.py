"""Joins finished studies, which trained some of the seeds each, into the study of all seeds.

    python -m m3net_jax.merge WORKDIR WORKDIR ... --workdir=NEW

The studies have the same settings and splits but for --first_seed and --num_seeds. They are only
read. The new folder is a study as if one command had trained it.
"""

from absl import flags

from data_prep import cli


def define(values: flags.FlagValues) -> None:
  """Defines the flags of this command."""
  cli.define_path(
    'workdir', None, 'the folder to write, which is new or empty', values=values, required=True
  )


def main(arguments: list[str], values: flags.FlagValues) -> None:
  """Merges the studies that the arguments name and prints the results."""
  from m3net_jax import api  # slow to import: not for --help

  study = api.merge_studies(arguments, values.workdir)
  print(f'{study.summary()}\n')
  print(f'wrote {study.path}')


if __name__ == '__main__':
  cli.run(main, define)
