"""Writes the report of a finished study, or compares several.

python -m m3net_jax.report WORKDIR             writes report.html, report.md and tables/ into it
python -m m3net_jax.report WORKDIR WORKDIR ... compares them, paired by seed and split
"""

from absl import flags

from data_prep import cli
from data_prep.errors import UserError


def main(arguments: list[str], values: flags.FlagValues) -> None:
  """Reports one study or compares several."""
  if not arguments:
    raise UserError('which study? give its --workdir: python -m m3net_jax.report WORKDIR')
  from m3net_jax import api  # slow to import: not for --help

  if len(arguments) > 1:
    print(api.compare(*arguments))
    return
  study = api.open_study(arguments[0])
  summary = study.summary()
  paths = study.report()
  print(f'{summary}\n')
  print('\n'.join(f'wrote {path}' for path in paths))


if __name__ == '__main__':
  cli.run(main)
