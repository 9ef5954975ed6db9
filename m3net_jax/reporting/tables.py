"""The tables of a study: its variants, the tests between them, its blocks.

Pure functions on `results.json`. Cells are text, accuracies are in per cent. `formats` turns a
table into CSV, LaTeX or Markdown.
"""

import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from m3net_jax.stats.intervals import ALPHA
from m3net_jax.study import sweeps
from m3net_jax.study.results import baseline

NONE = '-'  # a cell that has no value
_BLOCKS = (
  'stem',
  'sfp1',
  'sfp2',
  'mfp',
  'dfp',
  'attention',
  'head',
  'network',
)  # in the order of the network


class Table(NamedTuple):
  """A table of text.

  Attributes:
    name: of its files, without extension.
    caption: one sentence, without a full stop.
    columns: (group, name) each; columns of one group share a head; group '' means no group.
    rows: cells of text; '✓' is a tick.
    notes: sentences below the table.
    ours: positions of the rows to highlight.
  """

  name: str
  caption: str
  columns: tuple[tuple[str, str], ...]
  rows: list[list[str]]
  notes: tuple[str, ...] = ()
  ours: tuple[int, ...] = ()

  def _repr_markdown_(self) -> str:
    """The table as a notebook shows it."""
    from m3net_jax.reporting import formats  # imports this module

    return formats.to_markdown(self)


def percent(value: float | None) -> str:
  """A fraction in per cent, with two decimals."""
  return NONE if value is None else f'{100 * value:.2f}'


def points(value: float) -> str:
  """A difference of two fractions in points, with its sign."""
  return f'{100 * value:+.2f}'


def interval(ends: list[float] | None, end_text: Callable[[float], str] = percent) -> str:
  """The ends of an interval as 'low to high'."""
  return f'{end_text(ends[0])} to {end_text(ends[1])}' if ends else NONE


def accuracy_interval(ends: list[float] | None) -> str:
  """The ends of an interval of an accuracy, which Student's t can put outside 0 to 100 %."""
  return interval([min(1.0, max(0.0, end)) for end in ends] if ends else None)


def p_text(p: float | None) -> str:
  """A p-value with three decimals, or as a power of ten if it is below 0.001."""
  if p is None:
    return NONE
  return f'{p:.3f}' if p >= 0.001 else f'{p:.1e}'.replace('e-0', 'e-')


def corpus_title(results: Mapping[str, Any]) -> str:
  """The name of the corpus, marked if it is synthetic."""
  corpus = results['corpus']
  return corpus['name'] + (' (synthetic)' if corpus['synthetic'] else '')


def widest(variant: Mapping[str, Any]) -> dict[str, Any] | None:
  """The widest of the 95 % intervals of a variant, as in results.json; None for a single lane."""
  return variant['intervals'][0] if variant['intervals'] else None


def margin_text(margin: float) -> str:
  """A margin of equivalence (a fraction) in words."""
  return f'{100 * margin:g} point{"s" * (round(100 * margin, 9) != 1)}'


def conclusion(test: Mapping[str, Any], short: bool = False) -> str:
  """What a test says at 0.05 with Holm's correction; "no difference was found" is not "equal"."""
  different = test['p_holm'] is not None and test['p_holm'] <= ALPHA
  equal = test['equivalence_p_holm'] is not None and test['equivalence_p_holm'] <= ALPHA
  if different:
    direction = 'higher' if test['difference'] > 0 else 'lower'
    return direction + (f', within {margin_text(test["margin"])}' if equal and not short else '')
  if equal:
    return 'equal' if short else f'equal within {margin_text(test["margin"])}'
  return 'none found' if short else 'no difference was found'


def variants_table(results: Mapping[str, Any]) -> Table:
  """Every variant: accuracy over its lanes, parameters and multiply-adds."""
  rows = []
  for name, variant in results['variants'].items():
    lanes = variant['lanes']
    accuracies = [lane['test_accuracy'] for lane in lanes]
    diverged = sum(lane['status'] == 'diverged' for lane in lanes)
    values = (variant['mean'], variant['std'], max(accuracies), min(accuracies))
    rows.append(
      [
        name,
        f'{len(lanes)}' + (f' ({diverged} diverged)' if diverged else ''),
        *map(percent, values),
        accuracy_interval(widest(variant) and widest(variant)['ci95']),
        percent(variant['balanced_accuracy']),
        percent(variant['macro_f1']),
        f'{variant["parameters"]["total"]:,}',
        f'{variant["macs"]:,}',
      ]
    )
  columns = (
    'Variant',
    'Lanes',
    *(('Test accuracy (%)', head) for head in ('mean', 'std', 'best', 'worst', '95 % interval')),
    ('Mean over lanes (%)', 'balanced accuracy'),
    ('Mean over lanes (%)', 'macro F1'),
    'Parameters',
    'Multiply-adds',
  )
  notes = (
    'Test accuracy at the best validation epoch of each lane. The interval is the widest of those '
    'in the table of intervals, which says what each speaks about.',
    'Balanced accuracy: mean recall of the classes. Macro F1: mean F1 of the classes. '
    f'{largest_class(results)}.',
    'Parameters are counted as in Keras, including the moving statistics of batch norm. '
    'Multiply-adds are for one clip.',
  )
  return make(
    'variants',
    f'Variants on {corpus_title(results)}, {results["corpus"]["protocol"]}',
    columns,
    rows,
    notes,
    ours=[list(results['variants']).index(baseline(results))],
  )


def largest_class(results: Mapping[str, Any]) -> str:
  """The accuracy of always answering the largest class, in words."""
  largest = results['corpus']['largest_class']
  return (
    f'Always answering the largest class, {largest["name"]}, would have '
    f'{percent(largest["accuracy"])} %'
  )


def sweep_table(results: Mapping[str, Any]) -> Table | None:
  """Every setting of a sweep with its validation, the best first; None without a sweep."""
  content = results['sweep']
  if not content:
    return None
  loss = content['measure'] == 'validation_loss'
  value_text = (lambda value: f'{value:.4f}') if loss else percent
  rows, ours = [], []
  for variant, lanes in content['variants'].items():
    places = content['chosen'][variant]
    for setting in sweeps.ranked(content, variant):
      values = [value for value in lanes[setting] if value is not None]
      splits = [split for split, chosen in places.items() if chosen == setting]
      if splits:
        ours.append(len(rows))
      rows.append(
        [
          variant,
          *(f'{value:g}' for value in content['settings'][setting].values()),
          f'{len(lanes[setting])}',
          value_text(float(np.mean(values))) if values else NONE,
          value_text(float(np.std(values, ddof=1))) if len(values) > 1 else NONE,
          ('✓' if len(splits) == len(places) else ', '.join(splits)) if splits else '',
        ]
      )
  head = content['measure'].replace('_', ' ').capitalize() + ('' if loss else ' (%)')
  columns = (
    'Variant',
    *content['names'],
    'Lanes',
    (head, 'mean'),
    (head, 'std'),
    'Chosen',
  )
  notes = (
    'Mean over the lanes of a setting, each at its best validation epoch. The setting with the '
    'highest mean is chosen for each variant and split, and its lanes alone were tested.',
    'The more settings a sweep has, the further the validation of the chosen one lies above what '
    'it has on new clips: read its test accuracy.',
  )
  return make(
    'sweep',
    f'Settings of the sweep on {corpus_title(results)}, by validation',
    columns,
    rows,
    notes,
    ours,
  )


def side_by_side_table(results: Mapping[str, Any], arenas: Mapping[str, int]) -> Table | None:
  """What each variant costs and what it gives, paired with the baseline; None for one variant.

  Args:
    arenas: {variant: bytes of the tensor arena of its int8 form in TFLite Micro}, if known.
  """
  tests = {test['variant']: test for test in results['tests']}
  if not tests:
    return None
  first = baseline(results)
  rows = []
  for name, variant in results['variants'].items():
    test = tests.get(name)
    rows.append(
      [
        name,
        percent(variant['mean']),
        accuracy_interval(widest(variant) and widest(variant)['ci95']),
        points(test['difference']) if test else NONE,
        interval(test['difference_ci95'], points) if test else NONE,
        p_text(test['p_holm']) if test else NONE,
        conclusion(test) if test else NONE,
        f'{variant["parameters"]["trainable"]:,}',
        f'{variant["macs"]:,}',
        f'{arenas[name]:,}' if name in arenas else NONE,
      ]
    )
  columns = (
    'Variant',
    ('Test accuracy (%)', 'mean'),
    ('Test accuracy (%)', '95 % interval'),
    (f'Against {first}', 'points'),
    (f'Against {first}', '95 % interval'),
    (f'Against {first}', 'p, Holm'),
    (f'Against {first}', 'conclusion'),
    'Parameters',
    'Multiply-adds',
    'Arena (bytes)',
  )
  return make(
    'side_by_side',
    f'What each variant gives and costs on {corpus_title(results)}',
    columns,
    rows,
    (
      'All variants had the same clips, seeds and splits, and '
      + (
        'each the setting that the sweep chose for it. ' if results.get('sweep') else 'one recipe. '
      )
      + 'Parameters are the trainable ones. Arena: of the int8 network in TFLite Micro, for '
      'variants that were exported (python -m m3net_jax.export --variant=...).',
    ),
    ours=[list(results['variants']).index(first)],
  )


def intervals_table(results: Mapping[str, Any]) -> Table | None:
  """The 95 % intervals of every variant and what each speaks about; None for one lane."""
  variants = results['variants']
  about = {row['over']: row['about'] for row in variants[baseline(results)]['intervals']}
  if not about:
    return None
  rows = []
  for name, variant in variants.items():
    ends = {row['over']: row['ci95'] for row in variant['intervals']}
    rows.append([name, *(accuracy_interval(ends.get(over)) for over in about)])
  notes = [
    *(f'Over {over}: for {meaning}.' for over, meaning in about.items()),
    'Over seeds: Student t. Over seeds and clips or groups: crossed bootstrap; a group is a '
    'speaker or a recording. Over splits: Student t over the splits, each the mean of its seeds, '
    'with the variance corrected for the clips that splits share (Nadeau and Bengio, Machine '
    'Learning 52, 2003). An interval over seeds alone says nothing about new recordings.',
  ]
  if results['corpus']['shared_groups']:
    notes.append(
      'Test and training share speakers or recordings here, so no interval speaks about new ones.'
    )
  return make(
    'intervals',
    'The 95 % intervals of the mean test accuracy (%)',
    ('Variant', *(('95 % interval over', over) for over in about)),
    rows,
    notes,
    ours=[list(variants).index(baseline(results))],
  )


def tests_table(tests: list[dict[str, Any]], name: str = 'tests', caption: str = '') -> Table:
  """One row per test: n, statistic, p-values, effect size and interval; differences in points.

  Args:
    tests: rows as in results.json's "tests", not empty.
    name: name of the table.
    caption: caption of the table; by default it names the variant of the first row's `against`.
  """
  over_splits = any(test['signed_rank_p'] is not None for test in tests)
  with_margin = any(test['margin'] is not None for test in tests)
  columns: list[str | tuple[str, str]] = [
    'Variant',
    'Against',
    *['Conclusion'] * with_margin,
    ('Difference (points)', 'estimate'),
    ('Difference (points)', '95 % interval'),
    'p',
    'p, Holm',
    *[('Wilcoxon p, splits', 'as independent')] * over_splits,
  ]
  if with_margin:
    columns += [
      ('Improvement (%)', 'probability'),
      ('Improvement (%)', '95 % interval'),
      ('Equal', 'p, Holm'),
      ('Equal', 'within (points)'),
    ]
  columns += ['n', 'Statistic', 'Effect size']
  rows = []
  for test in tests:
    row = [
      test['variant'],
      test['against'],
      *([conclusion(test)] if with_margin else []),
      points(test['difference']),
      interval(test['difference_ci95'], points),
      p_text(test['p_value']),
      p_text(test['p_holm']),
      *[p_text(test['signed_rank_p'])] * over_splits,
    ]
    if with_margin:
      within = test['equivalent_within']
      row += [
        percent(test['improvement']),
        interval(test['improvement_ci95']),
        p_text(test['equivalence_p_holm']),
        NONE if within is None else f'{100 * within:.2f}',
      ]
    row += [
      f'{test["n"]}',
      NONE if test['statistic'] is None else f'{test["statistic"]:.4g}',
      NONE if test['effect_size'] is None else f'{test["effect_size"]:+.2f}',
    ]
    rows.append(row)
  methods = dict.fromkeys(f'{test["name"]}: {test["method"]}.' for test in tests)
  notes = [
    *methods,
    *_notes(tests),
    "Two-sided tests. Family of Holm's correction: the rows of this table. Effect size: "
    'rank-biserial, positive if the variant is higher. Difference: '
    f'{tests[0]["estimator"]} estimate, variant minus the one it is tested against; its interval '
    'is not corrected.',
  ]
  if with_margin:
    margin = margin_text(tests[0]['margin'])
    notes.append(
      f'Equal: two one-sided tests that the difference is below {margin} (--margin), a family of '
      "Holm's correction of their own; within: the smallest margin that this row alone allows. "
      'Improvement: how often the variant is higher than the one it is paired with, '
      "ties count half; Wilson's interval. No difference found does not mean equal."
    )
  return make(name, caption or f'Every variant against {tests[0]["against"]}', columns, rows, notes)


def tests_text(tests: list[dict[str, Any]], width: int) -> list[str]:
  """The tests for a terminal: lines of `width` + 63 columns, then notes.

  Args:
    tests: rows as in results.json's "tests", not empty.
    width: of the first column; a longer name has a line of its own.
  """
  head = (
    f'{"n":>3}{"change":>8}{"95 % interval":>18}{"p":>8}{"Holm":>8}{"better":>7}{"difference":>11}'
  )
  lines = [f'against {tests[0]["against"]}, points:', ' ' * width + head]
  for test in tests:
    label = test['variant']
    if len(label) >= width:
      lines.append(label)
      label = ''
    share = test['improvement']
    lines.append(
      f'{label:<{width}}{test["n"]:>3}{points(test["difference"]):>8}'
      f'{interval(test["difference_ci95"], points):>18}{p_text(test["p_value"]):>8}'
      f'{p_text(test["p_holm"]):>8}{NONE if share is None else f"{share:.0%}":>7}'
      f'{conclusion(test, short=True):>11}'
    )
  methods = dict.fromkeys(f'{test["name"]}: {test["method"]}.' for test in tests)
  margin = margin_text(tests[0]['margin'])
  for sentence in (
    *methods,
    *_notes(tests),
    f'Change: {tests[0]["estimator"]} estimate. Better: share of the pairs in which the variant is '
    'higher. Two-sided; Holm over these rows.',
    f'Equal: within {margin} by two one-sided tests (Holm). None found: no difference was found, '
    'which is not the same as equal.',
  ):
    lines += textwrap.wrap(sentence, 79, subsequent_indent='  ', break_long_words=False)
  return lines


def _notes(tests: list[dict[str, Any]]) -> list[str]:
  """Each note of the tests once, with its variants, without the counts of zeros and ties."""
  variants_by_note: dict[str, list[str]] = {}
  for test in tests:
    for note in filter(None, test['note'].split('; ')):
      if not note.endswith(('zero differences', 'tied differences', 'tied accuracies')):
        variants_by_note.setdefault(note, []).append(test['variant'])
  return [
    f'{", ".join(dict.fromkeys(variants))}: {note}.' for note, variants in variants_by_note.items()
  ]


def block_tables(blocks: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[Table]:
  """Two tables: parameters and multiply-adds of every block.

  Args:
    blocks: {'parameters' | 'macs': {variant: {block: count}}}.
  """
  # In the order of the network: a later variant may have a block that an earlier one lacks.
  names = sorted(
    {name for counts in blocks['parameters'].values() for name in counts}, key=_BLOCKS.index
  )
  tables = []
  for quantity, caption, note in (
    (
      'parameters',
      'Parameters of every block',
      'Counted as in Keras, including moving statistics.',
    ),
    (
      'macs',
      'Multiply-adds of every block for one clip',
      'Counted for convolutions and matrix products. Batch norm folds into the convolution before '
      'it.',
    ),
  ):
    rows = []
    for variant, counts in blocks[quantity].items():
      rows.append(
        [
          variant,
          *(f'{counts[name]:,}' if name in counts else NONE for name in names),
          f'{sum(counts.values()):,}',
        ]
      )
    columns = ('Variant', *names, 'total')
    tables.append(make(f'blocks_{quantity}', caption, columns, rows, (note,)))
  return tables


def make(
  name: str,
  caption: str,
  columns: Iterable[str | tuple[str, str]],
  rows: list[list[str]],
  notes: Iterable[str] = (),
  ours: Iterable[int] = (),
) -> Table:
  """Makes a table; a column is (group, name) or a name without a group."""
  pairs = tuple(column if isinstance(column, tuple) else ('', column) for column in columns)
  return Table(name, caption, pairs, rows, tuple(notes), tuple(ours))
