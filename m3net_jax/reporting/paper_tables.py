"""The paper's Tables 1 to 5 with our rows: pure functions on `results.json` to tables of text.

Published figures come from `published` alone, stand only beside a study of the same task and protocol, and
are marked with their source; no number of ours is computed from them but the one-sample test that says so.
"""

from collections.abc import Mapping
from typing import Any

from m3net_jax.network.variants import VARIANTS
from m3net_jax.reporting.tables import (
  NONE,
  Table,
  baseline,
  corpus_title,
  make,
  p_text,
  percent,
  points,
  tests_table,
)
from m3net_jax.stats import holm, intervals, published, wilcoxon

# Clips of the whole corpus; a study of a part of it is another task. Speech Commands: Warden 2018, arXiv
# 1804.03209, and 12 classes of it as its recipe draws them, 36,923 + 4,445 + 4,890; UrbanSound8K: Salamon,
# Jacoby, Bello, ACM MM 2014; ESC: Piczak, ACM MM 2015.
_WHOLE = {
  'speech_commands': 105829,
  'speech_commands_12': 46258,
  'urbansound8k': 8732,
  'esc10': 400,
  'esc50': 2000,
}
_PROTOCOLS = {'random': 'random_622'}
_TITLES = {
  'no_ma': 'M3Net w/o MA',
  'no_sfp': 'M3Net w/o SFP',
  'no_mfp': 'M3Net w/o MFP',
  'no_dfp': 'M3Net w/o DFP',
}
_PAPER_NAMES = {'urbansound8k': 'US8K', 'speech_commands': 'SCV2'}


def protocol(results: Mapping[str, Any]) -> str:
  """The study's protocol, named as in `published.PROTOCOLS` where it is one of those."""
  corpus = results['corpus']
  if corpus['split'] == 'folds':
    return f'folds{len(corpus["splits"])}'
  return _PROTOCOLS.get(corpus['split'], corpus['split'])


def comparable(results: Mapping[str, Any]) -> tuple[list[published.Result], str]:
  """Published figures that may stand beside this study, and the sentence that says which or why none."""
  corpus = results['corpus']
  whole = _WHOLE.get(corpus['name'], corpus['num_clips'])
  if corpus['num_clips'] != whole:
    return [], (
      f'No published result is comparable: this study has {corpus["num_clips"]:,} clips of '
      f'{corpus["name"]}, the whole corpus {whole:,}.'
    )
  task = published.Task(corpus['name'], corpus['num_classes'])
  return published.comparable(task, protocol(results)), published.comparison_note(
    task, protocol(results)
  )


def seed_accuracies(variant: Mapping[str, Any]) -> list[float]:
  """An accuracy a seed, over its folds where there are some, as a published single figure is one."""
  lanes = variant['lanes']
  return [
    intervals.mean_interval([lane['test_accuracy'] for lane in lanes if lane['seed'] == seed]).mean
    for seed in dict.fromkeys(lane['seed'] for lane in lanes)
  ]


def published_table(
  results: Mapping[str, Any], feature: str, entropy: str, crossings: str
) -> Table:
  """The paper's Tables 1 and 2: this study and what is published of the same task and protocol.

  Args:
    feature: what the network sees, for the column of that name.
    entropy, crossings: of the corpus, as text with units; '' where unknown.
  """
  note = comparable(results)[1]
  beside, tests = _beside(results), _published_tests(results)
  ours = baseline(results)
  tick = lambda value: '✓' if value else ('?' if value is None else '')
  millions = lambda value: NONE if value is None else f'{value:.3f}'
  rows = [
    [
      f'{result.method} ({_cite(result.source)})',
      result.feature or NONE,
      percent(result.value),
      millions(result.parameters_millions),
      p_text(test['p_value']),
      p_text(test['p_holm']),
      tick(result.augmentation),
      tick(result.pretraining),
    ]
    for result, test in zip(beside, tests)
  ]
  ablations = {result.variant for result in published.published_results()}
  for name in (
    ours,
    *(name for name in results['variants'] if name != ours and name not in ablations),
  ):
    variant = results['variants'][name]
    spread = f' ± {percent(variant["std"])}' if variant['std'] is not None else ''
    rows.append(
      [
        f'{"M3Net" if name == "full" else name}, this study',
        feature,
        percent(variant['mean']) + spread,
        millions(variant['parameters']['total'] / 1e6),
        *['baseline' if name == ours else NONE] * 2,
        '',
        '',
      ]
    )
  notes = [note]
  if tests:
    notes.append(
      f'p: one-sample Wilcoxon signed-rank of the {tests[0]["n"]} seeds of {ours} against each '
      'published figure, with all that belongs to it in a table of its own.'
    )
    notes += [f'No p-value: {test["note"]}.' for test in tests[:1] if test['p_value'] is None]
    cited: dict[str, list[str]] = {}
    for result in beside:
      read = f'{result.source}. {result.verified[:1].upper()}{result.verified[1:]}.'
      cited.setdefault(read, []).append(result.method)
    notes += [f'{", ".join(methods)}: {read}' for read, methods in cited.items()]
  number = {'urbansound8k': '1', 'speech_commands': '2'}.get(results['corpus']['name'], '1_2')
  form = f'Table {number}' if len(number) == 1 else 'Tables 1 and 2'
  heads = [
    f'{form} in the form of the paper. Dataset: {corpus_title(results)}',
    f'information entropy: {entropy}' if entropy else '',
    f'zero-crossing rate: {crossings}' if crossings else '',
  ]
  columns = (
    'Method',
    'Feature',
    'Accuracy (%)',
    '# Param (million)',
    ('Wilcoxon', 'p'),
    ('Wilcoxon', 'p, Holm'),
    'Data augmentation',
    'Pre-training',
  )
  return make(
    f'table{number}',
    '; '.join(filter(None, heads)),
    columns,
    rows,
    notes,
    ours=range(len(beside), len(rows)),
  )


def published_tests_table(results: Mapping[str, Any]) -> Table | None:
  """Our seeds against each figure of `published_table`; None where none is comparable."""
  tests = _published_tests(results)
  if not tests:
    return None
  made = tests_table(tests, 'tests_published', 'This study against published figures')
  return made._replace(
    notes=(
      *made.notes,
      'A published figure is taken as exact although it is itself the result of '
      'some runs: the test says whether these seeds lie about it, not whether methods differ.',
    )
  )


def _beside(results: Mapping[str, Any]) -> list[published.Result]:
  return [result for result in comparable(results)[0] if result.variant in (None, 'full')]


def _published_tests(results: Mapping[str, Any]) -> list[dict[str, Any]]:
  """A row as in results.json's "tests" for each figure beside ours, Holm's correction over them."""
  ours = baseline(results)
  seeds = seed_accuracies(results['variants'][ours])
  name = 'One-sample Wilcoxon signed-rank against the published figure'  # which is in `against`
  rows = [
    {
      **holm.as_row(
        wilcoxon.one_sample(seeds, result.value),
        ours,
        f'{result.method}, {percent(result.value)} %',
      ),
      'name': name,
    }
    for result in _beside(results)
  ]
  holm.correct(rows)
  return rows


def ablation_table(results: Mapping[str, Any], number: int) -> Table | None:
  """The paper's Table 3 (framework) or 4 (branches); None where the study has neither variant."""
  wanted = {3: ('no_ma', 'no_sfp'), 4: ('no_mfp', 'no_dfp')}[number]
  if not any(variant in results['variants'] for variant in wanted):
    return None
  columns: list[str | tuple[str, str]] = ['Dataset']
  for variant in wanted:
    columns += [(_TITLES[variant], head) for head in ('Accuracy (%)', 'Wilcoxon p', 'p, Holm')]
  ours = [cell for variant in wanted for cell in _cells(results, variant)]
  printed = _paper_rows(results, wanted, lambda result: (result.paper_p or NONE, NONE))
  what = {3: 'framework', 4: 'parallel branches'}[number]
  return make(
    f'table{number}',
    f'Table {number} in the form of the paper: ablation on the {what} of M3Net',
    columns,
    [*printed, [corpus_title(results), *ours]],
    _ablation_notes(results, wanted),
    ours=[len(printed)],
  )


def parts_table(results: Mapping[str, Any]) -> Table | None:
  """The paper's Table 5: channel weights and mirrors put back one by one; None without any such variant."""
  wanted = ('plain', 'eca', 'eca_csf', 'eca_csf_vmf')
  if not any(variant in results['variants'] for variant in wanted):
    return None
  columns = (
    'Ablation target',
    *(f'{i} ({variant})' for i, variant in enumerate(wanted, 1)),
    'full',
  )
  switches = [VARIANTS[variant].switches for variant in (*wanted, 'full')]
  rows = [
    [part.upper(), *('✓' if getattr(each, part) else '' for each in switches)]
    for part in ('eca', 'csf', 'vmf', 'hmf')
  ]
  for row in _paper_rows(results, (*wanted, 'full'), lambda result: (result.paper_p or NONE,)):
    rows += [[f'{row[0]}, accuracy (%)', *row[1::2]], [f'{row[0]}, Wilcoxon', *row[2::2]]]
  ours = [_cells(results, variant) for variant in (*wanted, 'full')]
  name = corpus_title(results)
  rows += [
    [f'{name}, {what}', *(cells[i] for cells in ours)]
    for i, what in enumerate(('accuracy (%)', 'Wilcoxon p', 'p, Holm'))
  ]
  return make(
    'table5',
    'Table 5 in the form of the paper: ablation on the sub-attention and basic layers',
    columns,
    rows,
    _ablation_notes(results, wanted),
    ours=range(len(rows) - 3, len(rows)),
  )


def _cells(results: Mapping[str, Any], variant: str) -> list[str]:
  """A variant's accuracy with its change from the baseline, p and Holm's p; NONE where it was not run."""
  if variant not in results['variants']:
    return [NONE] * 3
  found, base = results['variants'][variant], baseline(results)
  if variant == base:
    return [percent(found['mean']), 'baseline', 'baseline']
  change = points(found['mean'] - results['variants'][base]['mean'])
  test = next(each for each in results['tests'] if each['variant'] == variant)
  return [f'{percent(found["mean"])} ({change})', p_text(test['p_value']), p_text(test['p_holm'])]


def _paper_rows(results: Mapping[str, Any], wanted: tuple[str, ...], p_cells) -> list[list[str]]:
  """The paper's own row of an ablation, where task and protocol are this study's."""
  beside = {result.variant: result for result in comparable(results)[0] if result.variant}
  if 'full' not in beside:
    return []
  row = [f'{_PAPER_NAMES[results["corpus"]["name"]]} (Jiang et al. 2025)']
  for variant in wanted:
    result = beside[variant]
    change = f' ({points(result.value - beside["full"].value)})' if variant != 'full' else ''
    row += [f'{percent(result.value)}{change}', *p_cells(result)]
  return [row]


def _ablation_notes(results: Mapping[str, Any], wanted: tuple[str, ...]) -> list[str]:
  base = baseline(results)
  notes = [
    f'In brackets: change in points from {base} ({percent(results["variants"][base]["mean"])} %), '
    'with which the Wilcoxon tests compare, lanes paired by seed and split.'
  ]
  absent = [variant for variant in wanted if variant not in results['variants']]
  if absent:
    notes.append(f'Not in this study: {", ".join(absent)}.')
  unreachable = {
    test['note'].split(';')[0]
    for test in results['tests']
    if test['variant'] in wanted and test['p_value'] is None
  }
  notes += [f'No p-value: {note}.' for note in sorted(unreachable)]
  corrected = {
    part
    for test in results['tests']
    if test['variant'] in wanted
    for part in test['note'].split('; ')
    if part.startswith('with Holm')
  }
  notes += [f'{note[:1].upper()}{note[1:]}.' for note in sorted(corrected)]
  if not _paper_rows(results, (), lambda result: ()):
    notes.append(
      'The figures of the paper are of another task or protocol and do not stand beside these.'
    )
  return notes


def _cite(source: published.Source) -> str:
  surname = source.authors.split(',')[0].split(' et al')[0].split(' ')[-1]
  several = ' et al.' if ',' in source.authors or 'et al' in source.authors else ''
  return f'{surname}{several}' + (f' {source.year}' if source.year else '')
