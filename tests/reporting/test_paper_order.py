"""The order of the variants in a study and in the paper."""

import itertools

from m3net_jax.reporting import paper_order
from tests.reporting.studies import study


def test_the_order_is_the_papers_where_ours_is_and_not_where_it_is_not():
  paper = paper_order.paper_figures()
  assert (
    paper['urbansound8k']['no_ma'] == 0.7529 and paper['speech_commands']['eca_csf_vmf'] == 0.9182
  )
  as_printed = study(paper['urbansound8k'])
  pairs = paper_order.order(as_printed)
  assert not pairs.reversed and len(pairs.agreeing) + len(pairs.undecided) == sum(
    all(accuracies[a] > accuracies[b] for accuracies in paper.values())
    for a, b in itertools.permutations(paper['urbansound8k'], 2)
  )
  reversed_study = study({**paper['urbansound8k'], 'no_ma': 0.99})
  assert {pair for pair in paper_order.order(reversed_study).reversed} == {
    (name, 'no_ma') for name in paper['urbansound8k'] if name != 'no_ma'
  }
  table = paper_order.order_table(reversed_study)
  assert table.rows[0][0] == 'no_ma' and table.rows[0][1:] == ['1', '9', '9']
