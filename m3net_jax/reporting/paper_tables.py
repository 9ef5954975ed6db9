"""The paper's Tables 1 to 5 with the rows of a study. Pure functions on `results.json`.

Published figures come from `published` only. They are shown with their source, and only beside a
study of the same task and protocol. The one-sample tests are the only numbers computed from them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from m3net_jax.network.variants import VARIANTS
from m3net_jax.reporting.comparable import comparable, complete_networks, seed_accuracies
from m3net_jax.reporting.tables import (
  NONE,
  Table,
  corpus_title,
  make,
  p_text,
  percent,
  points,
  tests_table,
)
from m3net_jax.stats import holm, published, wilcoxon
from m3net_jax.study.results import baseline, ratio

_TITLES = {
  'no_ma': 'M3Net w/o MA',
  'no_sfp': 'M3Net w/o SFP',
  'no_mfp': 'M3Net w/o MFP',
  'no_dfp': 'M3Net w/o DFP',
}
_PAPER_NAMES = {'urbansound8k': 'US8K', 'speech_commands': 'SCV2'}


def published_table(
  results: Mapping[str, Any], feature: str, entropy: str, crossings: str
) -> Table:
  """The paper's Table 1 or 2: this study and published results of the same task and protocol.

  Args:
    feature: the input of the network, for the column "Feature".
    entropy, crossings: of the corpus, as text with units; '' if unknown.
  """
  note = comparable(results)[1]
  comparable_results, tests = complete_networks(results), _published_tests(results)
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
    for result, test in zip(comparable_results, tests)
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
      f'{_inside(results, comparable_results)} p: one-sample Wilcoxon signed-rank test of the '
      f'{tests[0]["n"]} seeds of {ours} against each published figure. It does not say whether the '
      'methods differ; details are in the table of tests against published figures.'
    )
    notes += [f'No p-value: {test["note"]}.' for test in tests[:1] if test['p_value'] is None]
    citations: dict[str, list[str]] = {}
    for result in comparable_results:
      citation = f'{result.source}. {result.verified[:1].upper()}{result.verified[1:]}.'
      citations.setdefault(citation, []).append(result.method)
    notes += [f'{", ".join(methods)}: {citation}' for citation, methods in citations.items()]
  number = {'urbansound8k': '1', 'speech_commands': '2'}.get(results['corpus']['name'], '1_2')
  title = f'Table {number}' if len(number) == 1 else 'Tables 1 and 2'
  heads = [
    f'{title} in the format of the paper. Dataset: {corpus_title(results)}',
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
    ours=range(len(comparable_results), len(rows)),
  )


def published_tests_table(results: Mapping[str, Any]) -> Table | None:
  """Our seeds against each figure of `published_table`; None if none is comparable."""
  tests = _published_tests(results)
  if not tests:
    return None
  table = tests_table(tests, 'tests_published', 'This study against published figures')
  return table._replace(
    notes=(
      _inside(results, complete_networks(results)),
      *table.notes,
      'A published figure is treated as exact, although it is the result of some runs itself. The '
      'test says whether these seeds are centred on the figure. It does not say whether the '
      'methods differ, nor how either does on other clips.',
    )
  )


def _inside(results: Mapping[str, Any], figures: list[published.Result]) -> str:
  """Which published figures lie within the range of our seeds, as a sentence."""
  seeds = seed_accuracies(results['variants'][baseline(results)])
  low, high = min(seeds), max(seeds)
  sides: dict[str, list[str]] = {'inside': [], 'above': [], 'below': []}
  for figure in figures:
    side = 'above' if figure.value > high else 'below' if figure.value < low else 'inside'
    sides[side].append(figure.method)
  where = '; '.join(f'{side}: {", ".join(names)}' for side, names in sides.items() if names)
  return f'The seeds of this study range from {percent(low)} to {percent(high)} %. {where}.'


def _published_tests(results: Mapping[str, Any]) -> list[dict[str, Any]]:
  """One row as in results.json's "tests" per published figure, with Holm's correction over all."""
  ours = baseline(results)
  seeds = seed_accuracies(results['variants'][ours])
  # The figure itself is in `against`.
  name = 'One-sample Wilcoxon signed-rank against the published figure'
  rows = [
    {
      **holm.as_row(
        wilcoxon.one_sample(seeds, result.value),
        ours,
        f'{result.method}, {percent(result.value)} %',
      ),
      'name': name,
    }
    for result in complete_networks(results)
  ]
  holm.correct(rows)
  return rows


def ablation_table(results: Mapping[str, Any], number: int) -> Table | None:
  """The paper's Table 3 (framework) or 4 (branches); None if the study has neither variant."""
  variants = {3: ('no_ma', 'no_sfp'), 4: ('no_mfp', 'no_dfp')}[number]
  if not any(variant in results['variants'] for variant in variants):
    return None
  columns: list[str | tuple[str, str]] = ['Dataset']
  for variant in variants:
    heads = ('Accuracy (%)', _p_name(results), 'p, Holm')
    columns += [(_TITLES[variant], head) for head in heads]
  ours = [cell for variant in variants for cell in _cells(results, variant)]
  paper = _paper_rows(results, variants, lambda result: (result.paper_p or NONE, NONE))
  target = {3: 'framework', 4: 'parallel branches'}[number]
  return make(
    f'table{number}',
    f'Table {number} in the format of the paper: ablation on the {target} of M3Net',
    columns,
    [*paper, [corpus_title(results), *ours]],
    _ablation_notes(results, variants),
    ours=[len(paper)],
  )


def parts_table(results: Mapping[str, Any]) -> Table | None:
  """The paper's Table 5: attention and flips added one by one; None without such a variant."""
  variants = ('plain', 'eca', 'eca_csf', 'eca_csf_vmf')
  if not any(variant in results['variants'] for variant in variants):
    return None
  columns = (
    'Ablation target',
    *(f'{i} ({variant})' for i, variant in enumerate(variants, 1)),
    'full',
  )
  switches = [VARIANTS[variant].switches for variant in (*variants, 'full')]
  rows = [
    [part.upper(), *('✓' if getattr(entry, part) else '' for entry in switches)]
    for part in ('eca', 'csf', 'vmf', 'hmf')
  ]
  for row in _paper_rows(results, (*variants, 'full'), lambda result: (result.paper_p or NONE,)):
    rows += [[f'{row[0]}, accuracy (%)', *row[1::2]], [f'{row[0]}, Wilcoxon', *row[2::2]]]
  ours = [_cells(results, variant) for variant in (*variants, 'full')]
  name = corpus_title(results)
  rows += [
    [f'{name}, {quantity}', *(cells[i] for cells in ours)]
    for i, quantity in enumerate(('accuracy (%)', _p_name(results), 'p, Holm'))
  ]
  return make(
    'table5',
    'Table 5 in the format of the paper: ablation on the sub-attention and basic layers',
    columns,
    rows,
    _ablation_notes(results, variants),
    ours=range(len(rows) - 3, len(rows)),
  )


def _p_name(results: Mapping[str, Any]) -> str:
  """The name of the p-value of this study's tests."""
  return 'Wilcoxon p' if ratio(results) is None else 'Corrected t p'


def _cells(results: Mapping[str, Any], variant: str) -> list[str]:
  """Accuracy of a variant with its change from the baseline, p, Holm's p; NONE if not run."""
  if variant not in results['variants']:
    return [NONE] * 3
  entry, base = results['variants'][variant], baseline(results)
  if variant == base:
    return [percent(entry['mean']), 'baseline', 'baseline']
  change = points(entry['mean'] - results['variants'][base]['mean'])
  test = next(test for test in results['tests'] if test['variant'] == variant)
  return [f'{percent(entry["mean"])} ({change})', p_text(test['p_value']), p_text(test['p_holm'])]


def _paper_rows(
  results: Mapping[str, Any],
  variants: tuple[str, ...],
  p_cells: Callable[[published.Result], tuple[str, ...]],
) -> list[list[str]]:
  """The paper's own row of an ablation, if its task and protocol are those of this study."""
  paper = {result.variant: result for result in comparable(results)[0] if result.variant}
  if 'full' not in paper:
    return []
  row = [f'{_PAPER_NAMES[results["corpus"]["name"]]} (Jiang et al. 2025)']
  for variant in variants:
    result = paper[variant]
    change = f' ({points(result.value - paper["full"].value)})' if variant != 'full' else ''
    row += [f'{percent(result.value)}{change}', *p_cells(result)]
  return [row]


def _ablation_notes(results: Mapping[str, Any], variants: tuple[str, ...]) -> list[str]:
  base = baseline(results)
  notes = [
    f'In brackets: change from {base} ({percent(results["variants"][base]["mean"])} %) in points. '
    f'The tests compare with {base}; lanes are paired by seed and split.'
  ]
  absent = [variant for variant in variants if variant not in results['variants']]
  if absent:
    notes.append(f'Not in this study: {", ".join(absent)}.')
  unreachable = {
    part
    for test in results['tests']
    if test['variant'] in variants and test['p_value'] is None
    for part in test['note'].split('; ')
    if 'cannot reach' in part
  }
  notes += [f'No p-value: {note}.' for note in sorted(unreachable)]
  corrected = {
    part
    for test in results['tests']
    if test['variant'] in variants
    for part in test['note'].split('; ')
    if part.startswith('with Holm')
  }
  notes += [f'{note[:1].upper()}{note[1:]}.' for note in sorted(corrected)]
  if not _paper_rows(results, (), lambda result: ()):
    notes.append("The paper's figures are not shown: they are for another task or protocol.")
  return notes


def _cite(source: published.Source) -> str:
  surname = source.authors.split(',')[0].split(' et al')[0].split(' ')[-1]
  several = ' et al.' if ',' in source.authors or 'et al' in source.authors else ''
  return f'{surname}{several}' + (f' {source.year}' if source.year else '')
