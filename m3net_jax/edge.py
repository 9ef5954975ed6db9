"""Compares bundles of one corpus and split: accuracy against memory.

    python -m m3net_jax.edge bundles/edge_64k bundles/edge_64k_stem16 --out_dir=figures

Use --variant of m3net_jax.export to export one variant; run it once per variant. Prints a table,
and writes it with more columns as edge.csv, beside the picture edge.png.
"""

from pathlib import Path

from absl import flags

from data_prep import cli
from data_prep.errors import UserError


def define(values: flags.FlagValues) -> None:
  """Defines the flags of this command."""
  cli.define_path('out_dir', None, 'folder for edge.csv and edge.png', values=values, required=True)


def main(arguments: list[str], values: flags.FlagValues) -> None:
  """Compares the bundles and writes the table and the picture."""
  if not arguments:
    raise UserError('nothing to compare: give the folders of bundles')
  from m3net_jax.reporting import bundles  # matplotlib is slow to import

  rows = bundles.compare(arguments)
  paths = bundles.write(Path(values.out_dir), rows)
  print(bundles.text(rows) + '\nwrote ' + ' and '.join(map(str, paths)))


if __name__ == '__main__':
  cli.run(main, define)
