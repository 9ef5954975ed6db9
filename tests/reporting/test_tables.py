"""The tables of tests and of blocks, against the results they are made from."""

from m3net_jax.network import cost
from m3net_jax.network.variants import architecture_of
from m3net_jax.reporting import tables
from tests.reporting.studies import study


def test_the_tests_table_keeps_every_number_and_says_where_p_is_none():
  results = study({'full': 0.97, 'no_ma': 0.75})
  test = results['tests'][0]
  (row,) = tables.tests_table(results['tests']).rows
  assert row[:4] == ['no_ma', 'full', '7', f'{test["statistic"]:g}']
  assert row[6:9] == [
    '-1.00',
    f'{100 * test["hodges_lehmann"]:+.2f}',
    ' to '.join(f'{100 * end:+.2f}' for end in test['hodges_lehmann_ci95']),
  ]
  few = [
    {**test, 'p_value': None, 'p_holm': None, 'note': 'n = 3 cannot reach 0.05; 2 tied differences'}
  ]
  table = tables.tests_table(few)
  assert table.rows[0][4:6] == [tables.NONE] * 2
  assert 'no_ma: n = 3 cannot reach 0.05.' in table.notes


def test_blocks_add_up_to_the_whole_network():
  results = study({'full': 0.97, 'no_ma': 0.75, 'no_mfp': 0.8})
  blocks = {
    quantity: {name: count(architecture_of(name), 10, (32, 32, 1)) for name in results['variants']}
    for quantity, count in (('parameters', cost.block_sizes), ('macs', cost.block_macs))
  }
  parameters, macs = tables.block_tables(blocks)
  number = lambda cell: 0 if cell == tables.NONE else int(cell.replace(',', ''))
  for table, total in (
    (parameters, lambda variant: variant['parameters']['total']),
    (macs, lambda variant: variant['macs']),
  ):
    for row in table.rows:
      assert sum(map(number, row[1:-1])) == number(row[-1]) == total(results['variants'][row[0]])
  assert [name for _, name in parameters.columns][1:-1] == [
    'stem',
    'sfp1',
    'sfp2',
    'mfp',
    'dfp',
    'head',
  ]
