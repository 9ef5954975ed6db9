"""The tables of tests and of blocks, against the results they are made from."""

import pytest

from m3net_jax.network import cost
from m3net_jax.network.variants import architecture_of
from m3net_jax.reporting import tables
from tests.reporting.studies import study


def test_the_tests_table_keeps_every_number_and_says_where_p_is_none():
  results = study({'full': 0.97, 'no_ma': 0.75})
  test = results['tests'][0]
  (row,) = tables.tests_table(results['tests']).rows
  assert row[:3] == ['no_ma', 'full', 'lower']
  assert row[3:9] == [
    f'{100 * test["difference"]:+.2f}',
    ' to '.join(f'{100 * end:+.2f}' for end in test['difference_ci95']),
    tables.p_text(test['p_value']),
    tables.p_text(test['p_holm']),
    '0.00',
    ' to '.join(f'{100 * end:.2f}' for end in test['improvement_ci95']),
  ]
  assert row[-3:] == ['7', f'{test["statistic"]:g}', '-1.00']
  few = [
    {**test, 'p_value': None, 'p_holm': None, 'note': 'n = 3 cannot reach 0.05; 2 tied differences'}
  ]
  table = tables.tests_table(few)
  assert table.rows[0][5:7] == [tables.NONE] * 2
  assert 'no_ma: n = 3 cannot reach 0.05.' in table.notes
  assert table.rows[0][2] == 'no difference was found'


@pytest.mark.parametrize(
  'p_holm, equivalence, difference, long, short',
  [
    (0.01, 0.9, 0.02, 'higher', 'higher'),
    (0.01, 0.01, -0.002, 'lower, within 1 point', 'lower'),
    (0.3, 0.01, -0.002, 'equal within 1 point', 'equal'),
    (0.3, 0.3, -0.002, 'no difference was found', 'none found'),
    (None, None, 0.02, 'no difference was found', 'none found'),
  ],
)
def test_no_difference_is_not_equal(p_holm, equivalence, difference, long, short):
  test = {
    'p_holm': p_holm,
    'equivalence_p_holm': equivalence,
    'difference': difference,
    'margin': 0.01,
  }
  assert tables.conclusion(test) == long and tables.conclusion(test, short=True) == short


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


def test_variants_stand_side_by_side_with_what_they_cost():
  results = study({'full': 0.97, 'no_ma': 0.75})
  table = tables.side_by_side_table(results, {'no_ma': 12345})
  full, other = table.rows
  test, variant = results['tests'][0], results['variants']['no_ma']
  assert full[3:7] == [tables.NONE] * 4 and full[-1] == tables.NONE
  assert other[0] == 'no_ma' and other[1] == f'{100 * variant["mean"]:.2f}'
  assert other[3:7] == [
    f'{100 * test["difference"]:+.2f}',
    ' to '.join(f'{100 * end:+.2f}' for end in test['difference_ci95']),
    tables.p_text(test['p_holm']),
    'lower',
  ]
  assert other[7:] == [
    f'{variant["parameters"]["trainable"]:,}',
    f'{variant["macs"]:,}',
    '12,345',
  ]
  assert tables.side_by_side_table(study({'full': 0.97}), {}) is None
