"""Tests a finished study on its test clips with noise, at other levels and at other times.

    python -m m3net_jax.robustness WORKDIR --noise_dir=FOLDER_OF_NOISE

Writes robustness.json, figures/robustness.png and the report, which shows both. It needs the
recordings of the corpus.
"""

from absl import flags

from data_prep import cli
from data_prep.errors import UserError


def define(values: flags.FlagValues) -> None:
  """Defines the flags of this command."""
  cli.define_paths(
    'noise_dir',
    "folders of noise recordings, comma-separated (default: the corpus's own, if any); white "
    'and pink noise are always tried',
    values=values,
  )
  cli.define_path(
    'raw_dir',
    None,
    'folder of the recordings (default: where they were when the store was made)',
    values=values,
  )


def main(arguments: list[str], values: flags.FlagValues) -> None:
  """Tests one study."""
  if len(arguments) != 1:
    raise UserError('which study? give its --workdir: python -m m3net_jax.robustness WORKDIR')
  from m3net_jax import api  # slow to import: not for --help
  from m3net_jax.reporting import robustness

  study = api.open_study(arguments[0])
  content = study.robustness(values.noise_dir, values.raw_dir)
  print(f'{robustness.text(content)}\n')
  names = ('robustness.json', 'figures/robustness.png', 'report.html')
  print('\n'.join(f'wrote {study.path / name}' for name in names))


if __name__ == '__main__':
  cli.run(main, define)
