"""Tables in the paper's form, their formats, and what they are made of, against scipy, scikit-learn and hand
counts."""

import csv
import io
import itertools
import shutil
import subprocess

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from m3net_jax.network import cost
from m3net_jax.network.variants import architecture_of
from m3net_jax.reporting import evidence, formats, paper_order, paper_tables, tables
from m3net_jax.stats import holm, intervals, published

SEEDS = 7
CLIPS = {'urbansound8k': 8732, 'speech_commands': 105829}


def study(means, corpus='fsdd', split='random', num_clips=None, folds=1, classes=10):
  """A results.json of lanes about `means` {variant: accuracy}, all seven different from full's."""
  rng = np.random.default_rng(5)
  splits = [
    {
      'name': f'fold {i + 1}' if folds > 1 else split,
      'sizes': {'train': 60, 'validation': 20, 'test': 20},
    }
    for i in range(folds)
  ]
  variants = {}
  for name, mean in means.items():
    lanes = [
      {
        'seed': seed,
        'split': each['name'],
        'status': 'finished',
        'test_accuracy': mean + rng.normal(0, 0.002),
      }
      for each in splits
      for seed in range(SEEDS)
    ]
    found = intervals.mean_interval([lane['test_accuracy'] for lane in lanes])
    architecture = architecture_of(name)
    variants[name] = {
      'parameters': cost.size(architecture, classes, (32, 32, 1))._asdict(),
      'macs': sum(cost.block_macs(architecture, classes, (32, 32, 1)).values()),
      'lanes': lanes,
      'mean': found.mean,
      'std': found.std,
      'ci95': list(found.interval),
    }
  keyed = {
    name: {(lane['seed'], lane['split']): lane['test_accuracy'] for lane in variant['lanes']}
    for name, variant in variants.items()
  }
  return {
    'corpus': {
      'name': corpus,
      'synthetic': corpus.startswith('synthetic'),
      'num_classes': classes,
      'num_clips': CLIPS.get(corpus, 3000) if num_clips is None else num_clips,
      'split': split,
      'protocol': f'{split} split',
      'splits': splits,
    },
    'variants': variants,
    'tests': holm.tests_table(keyed, baseline=next(iter(keyed))),
  }


def accuracies(results, variant):
  return np.array([lane['test_accuracy'] for lane in results['variants'][variant]['lanes']])


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
  'made, beside',
  [
    (dict(corpus='urbansound8k'), True),
    (dict(corpus='urbansound8k', split='grouped'), False),
    (dict(corpus='urbansound8k', split='folds', folds=10), False),
    (dict(corpus='urbansound8k', num_clips=500), False),
    (dict(corpus='synthetic_commands'), False),
    (dict(corpus='fsdd'), False),
  ],
)
def test_the_papers_figures_stand_beside_the_same_task_and_protocol_only(made, beside):
  results = study({'full': 0.97, 'no_ma': 0.75, 'no_mfp': 0.8, 'eca': 0.9}, **made)
  third, fourth, fifth = (
    paper_tables.ablation_table(results, 3),
    paper_tables.ablation_table(results, 4),
    paper_tables.parts_table(results),
  )
  printed = {
    3: '75.29 (-22.15)',
    4: '87.26 (-10.18)',
    5: '94.56 (-2.88)',
  }  # the paper's Tables 3 to 5, US8K
  for number, table in ((3, third), (4, fourth), (5, fifth)):
    cells = [cell for row in table.rows for cell in row]
    assert (printed[number] in cells) == beside
    assert any('Jiang et al. 2025' in cell for cell in cells) == beside
  assert third.ours == ((1,) if beside else (0,))


def test_a_part_of_the_twelve_class_task_is_another_task():
  beside = lambda clips: paper_tables.comparable(
    study({'full': 0.97}, 'speech_commands_12', 'official', num_clips=clips, classes=12)
  )[0]
  assert beside(4890) == [] and {'KWT-3', 'BC-ResNet-8'} <= {
    result.method for result in beside(46258)
  }


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
  # And all that belongs beside that p, in a table of its own.
  tested = paper_tables.published_tests_table(results)
  assert len(tested.rows) == len(table.rows) - 1 and tested.notes[0].startswith(
    'One-sample Wilcoxon signed-rank'
  )
  row = next(row for row in tested.rows if row[1] == 'ESResNet, mono, 84.20 %')
  differences = 100 * (seeds - 0.842)
  walsh = [(x + y) / 2 for i, x in enumerate(differences) for y in differences[i:]]
  assert row[2:5] == [f'{SEEDS}', f'{expected.statistic:g}', f'{expected.pvalue:.3f}']
  # Of 28 Walsh averages the third from either end: P(W <= 2) = 3 / 128 is below 0.025, P(W <= 3) is not.
  low, high = sorted(walsh)[2], sorted(walsh)[-3]
  assert row[6:9] == ['+1.00', f'{np.median(walsh):+.2f}', f'{low:+.2f} to {high:+.2f}']
  corrected = min(
    1, expected.pvalue * len(tested.rows)
  )  # every seed is above every figure: all p are alike
  assert row[5] == f'{corrected:.3f}'
  assert any(f'with Holm over {len(tested.rows)} tests' in note for note in tested.notes)
  assert not any('M3Net w/o' in row[0] for row in table.rows)
  # Each citation once, with all that it is of.
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
    what: {name: count(architecture_of(name), 10, (32, 32, 1)) for name in results['variants']}
    for what, count in (('parameters', cost.block_sizes), ('macs', cost.block_macs))
  }
  parameters, macs = tables.block_tables(blocks)
  number = lambda cell: 0 if cell == tables.NONE else int(cell.replace(',', ''))
  for table, of in ((parameters, lambda v: v['parameters']['total']), (macs, lambda v: v['macs'])):
    for row in table.rows:
      assert sum(map(number, row[1:-1])) == number(row[-1]) == of(results['variants'][row[0]])
  assert [name for _, name in parameters.columns][1:-1] == [
    'stem',
    'sfp1',
    'sfp2',
    'mfp',
    'dfp',
    'head',
  ]


def test_the_order_is_the_papers_where_ours_is_and_not_where_it_is_not():
  paper = paper_order.paper_figures()
  assert (
    paper['urbansound8k']['no_ma'] == 0.7529 and paper['speech_commands']['eca_csf_vmf'] == 0.9182
  )
  as_printed = study(paper['urbansound8k'])
  found = paper_order.order(as_printed)
  assert not found.reversed and len(found.agreeing) + len(found.undecided) == sum(
    all(of[a] > of[b] for of in paper.values())
    for a, b in itertools.permutations(paper['urbansound8k'], 2)
  )
  turned = study({**paper['urbansound8k'], 'no_ma': 0.99})
  assert {pair for pair in paper_order.order(turned).reversed} == {
    (name, 'no_ma') for name in paper['urbansound8k'] if name != 'no_ma'
  }
  table = paper_order.order_table(turned)
  assert table.rows[0][0] == 'no_ma' and table.rows[0][1:] == ['1', '9', '9']


def test_csv_and_markdown_have_a_cell_a_column():
  table = paper_tables.ablation_table(study({'full': 0.97, 'no_ma': 0.75}), 3)
  rows = list(csv.reader(io.StringIO(formats.to_csv(table, 'fsdd'))))
  assert rows[0][:3] == ['Corpus', 'Dataset', 'M3Net w/o MA, Accuracy (%)']
  assert rows[1] == ['fsdd', *(cell if cell != tables.NONE else '' for cell in table.rows[0])]
  # What a program reads: numbers, and nothing where there is none; as many cells as before.
  programs = tables.make(
    't', 'T', ('a', 'b', 'c', 'd', 'e'), [['30,598', '-', '✓', '1,234 and 5', '-1.50']]
  )
  assert list(csv.reader(io.StringIO(formats.to_csv(programs, 'x'))))[1] == [
    'x',
    '30598',
    '',
    'yes',
    '1,234 and 5',
    '-1.50',
  ]
  lines = [line for line in formats.to_markdown(table).splitlines() if line.startswith('|')]
  assert {line.count('|') for line in lines} == {len(table.columns) + 1} and len(lines) == 3


def test_latex_shows_every_character_as_itself():
  assert formats.latex('eca_csf & 5% #1 {x} $') == r'eca\_csf \& 5\% \#1 \{x\} \$'
  assert formats.latex('75.29 (-22.15)') == '75.29 ($-$22.15)' and formats.latex('-') == '-'
  assert formats.latex('-1.0 to +2.0, 1.2e-4') == '$-$1.0 to +2.0, 1.2e-4'


def test_a_table_wider_than_a_column_of_a_page_takes_the_page():
  made = lambda cell: formats.to_latex(tables.make('t', 'Caption', ('A', 'B'), [['a', cell]], []))
  assert '\\begin{table}[t]' in made('b' * 50) and '\\begin{table*}[t]' in made('b' * 60)


@pytest.mark.skipif(not shutil.which('pdflatex'), reason='no pdflatex here')
def test_latex_compiles(tmp_path):
  results = study({'full': 0.97, 'no_ma': 0.75, 'no_dfp': 0.8, 'eca': 0.9}, corpus='urbansound8k')
  made = [
    tables.variants_table(results),
    tables.tests_table(results['tests']),
    paper_tables.ablation_table(results, 3),
    paper_tables.parts_table(results),
    paper_tables.published_table(results, 'Log-Mel', '1 ± 2 bits', ''),
  ]
  text = '\n'.join(
    [
      r'\documentclass{article}\usepackage{booktabs,amssymb,graphicx}\begin{document}',
      *map(formats.to_latex, made),
      r'\end{document}',
    ]
  )
  (tmp_path / 'all.tex').write_text(text)
  done = subprocess.run(
    ['pdflatex', '-halt-on-error', '-interaction=nonstopmode', 'all.tex'],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert done.returncode == 0, done.stdout[-2000:]


LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1])
LANES = [
  evidence.LanePredictions('full', 0, np.array([0, 1, 2, 3]), np.array([0, 2, 2, 1])),
  evidence.LanePredictions('full', 1, np.array([0, 1, 2, 3]), np.array([0, 2, 0, 1])),
  evidence.LanePredictions('full', 2, np.array([1, 4, 5]), np.array([0, 1, 1])),
]


def test_confusions_and_class_accuracies_are_those_of_scikit_learn():
  true = np.concatenate([LABELS[lane.clips] for lane in LANES])
  predicted = np.concatenate([lane.predicted for lane in LANES])
  counts = evidence.confusion(LANES, LABELS, 3)
  assert np.array_equal(counts, metrics.confusion_matrix(true, predicted, labels=[0, 1, 2]))
  by_lane = evidence.class_accuracies(LANES, LABELS, 3)
  for lane, accuracy in zip(LANES, by_lane):
    labels = LABELS[lane.clips]
    present = np.unique(labels)
    expected = metrics.recall_score(labels, lane.predicted, labels=present, average=None)
    assert np.allclose(accuracy[present], expected)
  assert np.isnan(by_lane[2, 0])  # it tests no clip of class 0


def test_the_hardest_clips_are_wrong_in_the_largest_share_of_the_lanes_that_test_them():
  hard = evidence.hardest(LANES, LABELS, 10)
  # Clip 1: wrong in 3 of 3; 3: in 2 of 2; 5: in 1 of 1; 2: in 1 of 2; 0 and 4 never.
  assert [(clip.clip, clip.wrong, clip.lanes) for clip in hard] == [
    (1, 3, 3),
    (3, 2, 2),
    (5, 1, 1),
    (2, 1, 2),
  ]
  assert hard[0].taken_for == ((2, 2), (0, 1)) and hard[0].label == 1
  others = [evidence.LanePredictions('no_ma', 0, np.array([3, 5]), np.array([0, 0]))]  # 3 right, 5 wrong
  assert [clip.clip for clip in evidence.hardest(LANES, LABELS, 2, others)] == [5, 1]


def test_predictions_are_read_by_variant_split_and_seed():
  from m3net_jax.study.splits import Split

  made = [Split(f'fold {i}', *[np.arange(0)] * 2, np.array([i, i + 1])) for i in (1, 2)]
  lanes = evidence.lane_predictions({'a.b:C/fold 2/13': np.array([0, 1])}, made)
  assert lanes[0].variant == 'a.b:C' and lanes[0].seed == 13 and lanes[0].clips.tolist() == [2, 3]
