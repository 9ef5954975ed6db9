"""The paper's Tables 1 to 5 with our rows, against scipy and the paper's printed figures."""

import numpy as np
import pytest
from scipy import stats

from m3net_jax.reporting import paper_tables, tables
from m3net_jax.stats import published
from tests.reporting.studies import SEEDS, accuracies, study


def test_table_3_has_the_change_from_full_and_the_paired_test():
  results = study({'full': 0.97, 'no_ma': 0.75, 'no_sfp': 0.87})
  table = paper_tables.ablation_table(results, 3)
  assert table.columns[:4] == (
    ('', 'Dataset'),
    *(('M3Net w/o MA', head) for head in ('Accuracy (%)', 'Wilcoxon p', 'p, Holm')),
  )
  (row,) = table.rows
  ours, full = accuracies(results, 'no_ma'), accuracies(results, 'full')
  assert row[:2] == ['fsdd', f'{100 * ours.mean():.2f} ({100 * (ours.mean() - full.mean()):.2f})']
  p = stats.wilcoxon(ours, full, method='exact').pvalue
  assert row[2:4] == [f'{p:.3f}', f'{2 * p:.3f}']  # Holm: the smaller of two
  assert any('another task or protocol' in note for note in table.notes)


@pytest.mark.parametrize(
  'arguments, shown',
  [
    (dict(corpus='urbansound8k'), True),
    (dict(corpus='urbansound8k', split='grouped'), False),
    (dict(corpus='urbansound8k', split='folds', folds=10), False),
    (dict(corpus='urbansound8k', num_clips=500), False),
    (dict(corpus='synthetic_commands'), False),
    (dict(corpus='fsdd'), False),
  ],
)
def test_the_papers_figures_stand_beside_the_same_task_and_protocol_only(arguments, shown):
  results = study({'full': 0.97, 'no_ma': 0.75, 'no_mfp': 0.8, 'eca': 0.9}, **arguments)
  third, fourth, fifth = (
    paper_tables.ablation_table(results, 3),
    paper_tables.ablation_table(results, 4),
    paper_tables.parts_table(results),
  )
  # The paper's Tables 3 to 5, US8K.
  printed = {3: '75.29 (-22.15)', 4: '87.26 (-10.18)', 5: '94.56 (-2.88)'}
  for number, table in ((3, third), (4, fourth), (5, fifth)):
    cells = [cell for row in table.rows for cell in row]
    assert (printed[number] in cells) == shown
    assert any('Jiang et al. 2025' in cell for cell in cells) == shown
  assert third.ours == ((1,) if shown else (0,))


def test_table_5_ticks_what_the_paper_ticks():
  table = paper_tables.parts_table(study({'full': 0.97, 'plain': 0.94, 'eca_csf': 0.95}))
  ticks = {row[0]: [cell == '✓' for cell in row[1:5]] for row in table.rows[:4]}
  assert ticks == {
    'ECA': [False, True, True, True],
    'CSF': [False, False, True, True],
    'VMF': [False, False, False, True],
    'HMF': [False] * 4,
  }
  assert table.rows[4][2] == tables.NONE  # eca was not run
  assert 'Not in this study: eca, eca_csf_vmf.' in table.notes


def test_ablation_tables_without_their_variants_are_absent():
  results = study({'full': 0.97, 'no_dfp': 0.94})
  assert (
    paper_tables.ablation_table(results, 3) is None and paper_tables.parts_table(results) is None
  )
  assert paper_tables.ablation_table(results, 4) is not None


def test_table_1_tests_our_seeds_against_each_published_figure():
  results = study({'full': 0.97, 'no_ma': 0.7}, corpus='urbansound8k', split='folds', folds=10)
  table = paper_tables.published_table(results, 'Log-Mel', '', '')
  assert table.name == 'table1' and table.ours == (len(table.rows) - 1,)
  row = next(row for row in table.rows if row[0].startswith('ESResNet, mono'))
  assert row[0].endswith('(Guzhov et al. 2020)') and row[2] == '84.20'
  lanes = results['variants']['full']['lanes']
  seeds = np.array(
    [
      np.mean([lane['test_accuracy'] for lane in lanes if lane['seed'] == seed])
      for seed in range(SEEDS)
    ]
  )
  expected = stats.wilcoxon(seeds - 0.842, method='exact')
  assert row[4] == f'{expected.pvalue:.3f}'
  assert any('one-sample' in note for note in table.notes)
  # A second table has the details of each p-value.
  tests = paper_tables.published_tests_table(results)
  assert len(tests.rows) == len(table.rows) - 1
  low, high = (f'{100 * end:.2f}' for end in (min(seeds), max(seeds)))
  assert tests.notes[0].startswith(f'The seeds of this study range from {low} to {high} %. below:')
  assert 'ESResNet, mono' in tests.notes[0]
  assert tests.notes[1].startswith('One-sample Wilcoxon signed-rank')
  row = next(row for row in tests.rows if row[1] == 'ESResNet, mono, 84.20 %')
  differences = 100 * (seeds - 0.842)
  walsh = [(x + y) / 2 for i, x in enumerate(differences) for y in differences[i:]]
  assert row[4] == f'{expected.pvalue:.3f}'
  assert row[6:] == [f'{SEEDS}', f'{expected.statistic:g}', '+1.00']
  # Of 28 Walsh averages the third from each end: P(W <= 2) = 3 / 128 is below 0.025, P(W <= 3) is
  # not.
  low, high = sorted(walsh)[2], sorted(walsh)[-3]
  assert row[2:4] == [f'{np.median(walsh):+.2f}', f'{low:+.2f} to {high:+.2f}']
  # Every seed is above every figure, so all p-values are equal.
  corrected = min(1, expected.pvalue * len(tests.rows))
  assert row[5] == f'{corrected:.3f}'
  assert any(f'with Holm over {len(tests.rows)} tests' in note for note in tests.notes)
  assert not any('M3Net w/o' in row[0] for row in table.rows)
  # Each citation once, with all its methods.
  assert sum('A. Guzhov' in note for note in table.notes) == len(
    {
      (result.source, result.verified)
      for result in published.comparable(('urbansound8k', 10), 'folds10')
      if 'Guzhov' in result.source.authors
    }
  )
  assert any(note.startswith('ESResNet, stereo, ESResNet, mono: A. Guzhov') for note in table.notes)


def test_without_a_comparable_result_table_1_says_so_and_has_our_row_alone():
  table = paper_tables.published_table(study({'full': 0.97}), 'Log-Mel', '3.6 bits/symbol', '')
  assert len(table.rows) == 1 and table.rows[0][0] == 'M3Net, this study'
  assert paper_tables.published_tests_table(study({'full': 0.97})) is None
  assert table.notes[0].startswith('No published result is comparable')
  assert 'information entropy: 3.6' in table.caption and 'zero-crossing' not in table.caption
