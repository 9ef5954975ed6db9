"""Reports of finished studies, and the comparison of several.

    python -m m3net_jax.report WORKDIR             writes report.html, report.md and tables/ into it
    python -m m3net_jax.report WORKDIR WORKDIR ... compares them, paired by seed and split, in a table
"""
from data_prep import cli
from data_prep.errors import UserError
from m3net_jax.reporting import summary
from m3net_jax.study import workdir


def main(arguments: list[str]) -> None:
  if not arguments:
    raise UserError('which study? give its --workdir: python -m m3net_jax.report WORKDIR')
  studies = [workdir.read(path) for path in arguments]
  if len(studies) > 1:
    from m3net_jax.reporting import compare
    print(compare.text(compare.compare(studies)))
    return
  from m3net_jax.reporting import report  # matplotlib is slow to import: not for a user's mistake
  written = report.write(studies[0])
  print(summary.text(studies[0].results()) + '\n')
  print('\n'.join(f'wrote {path}' for path in written))


if __name__ == '__main__':
  cli.run(main)
