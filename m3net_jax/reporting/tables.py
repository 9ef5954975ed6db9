"""The tables of a study: its variants, the tests between them, its blocks.

Pure functions on `results.json`. Cells are text, accuracies are in per cent. `formats` turns a
table into CSV, LaTeX or Markdown.
"""

import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

NONE = '-'  # a cell that has no value
_BLOCKS = ('stem', 'sfp1', 'sfp2', 'mfp', 'dfp', 'attention', 'head')  # in the order of the network


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


def p_text(p: float | None) -> str:
  """A p-value with three decimals, or as a power of ten if it is below 0.001."""
  if p is None:
    return NONE
  return f'{p:.3f}' if p >= 0.001 else f'{p:.1e}'.replace('e-0', 'e-')


def baseline(results: Mapping[str, Any]) -> str:
  """The variant that the others are compared with; the headline shows its accuracy."""
  return 'full' if 'full' in results['variants'] else next(iter(results['variants']))


def corpus_title(results: Mapping[str, Any]) -> str:
  """The name of the corpus, marked if it is synthetic."""
  corpus = results['corpus']
  return corpus['name'] + (' (synthetic)' if corpus['synthetic'] else '')


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
        interval(variant['ci95']),
        f'{variant["parameters"]["total"]:,}',
        f'{variant["macs"]:,}',
      ]
    )
  columns = (
    'Variant',
    'Lanes',
    *(('Test accuracy (%)', head) for head in ('mean', 'std', 'best', 'worst', '95 % interval')),
    'Parameters',
    'Multiply-adds',
  )
  notes = (
    'Test accuracy at the best validation epoch of each lane. The interval is for the mean over '
    'lanes (Student t). It holds for this training on these clips, not for other corpora.',
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


def tests_table(tests: list[dict[str, Any]], name: str = 'tests', caption: str = '') -> Table:
  """One row per test: n, statistic, p-values, effect size and interval; differences in points.

  Args:
    tests: rows as in results.json's "tests", not empty.
    name: name of the table.
    caption: caption of the table; by default it names the variant of the first row's `against`.
  """
  rows = [
    [
      test['variant'],
      test['against'],
      f'{test["n"]}',
      NONE if test['statistic'] is None else f'{test["statistic"]:g}',
      p_text(test['p_value']),
      p_text(test['p_holm']),
      NONE if test['effect_size'] is None else f'{test["effect_size"]:+.2f}',
      points(test['hodges_lehmann']),
      interval(test['hodges_lehmann_ci95'], points),
      f'{test["zero_differences"]}',
      f'{test["ties"]}',
      p_text(test['smallest_p']),
    ]
    for test in tests
  ]
  columns = (
    'Variant',
    'Against',
    'n',
    'Statistic',
    'p',
    'p, Holm',
    'Effect size',
    ('Difference (points)', 'estimate'),
    ('Difference (points)', '95 % interval'),
    'Zeros',
    'Ties',
    'Smallest p',
  )
  methods = dict.fromkeys(f'{test["name"]}: {test["method"]}.' for test in tests)
  # Zeros and ties have columns of their own.
  test_notes = _notes(
    tests, leave_out=('differences dropped', 'tied differences', 'tied accuracies')
  )
  notes = (
    *methods,
    *test_notes,
    'Two-sided tests; Holm over the rows of this table. Effect size: rank-biserial, positive if '
    'the variant is higher. Difference: Hodges-Lehmann, variant minus the one it is tested '
    'against. Zeros: differences of zero. Ties: differences of equal size. Smallest p: the '
    'smallest p-value that this number of lanes can reach.',
  )
  return make(name, caption or f'Every variant against {tests[0]["against"]}', columns, rows, notes)


def tests_text(tests: list[dict[str, Any]], width: int) -> list[str]:
  """The tests for a terminal: lines of `width` + 63 columns, then notes.

  Args:
    tests: rows as in results.json's "tests", not empty.
    width: of the first column; a longer name has a line of its own.
  """
  head = (
    f'{"n":>4}{"change":>8}{"95 % interval":>18}{"statistic":>10}{"effect":>7}{"p":>8}{"Holm":>8}'
  )
  lines = [f'against {tests[0]["against"]}, points:', ' ' * width + head]
  for test in tests:
    label = test['variant']
    if len(label) >= width:
      lines.append(label)
      label = ''
    lines.append(
      f'{label:<{width}}{test["n"]:>4}{points(test["hodges_lehmann"]):>8}'
      f'{interval(test["hodges_lehmann_ci95"], points):>18}{test["statistic"]:>10g}'
      f'{test["effect_size"]:>+7.2f}{p_text(test["p_value"]):>8}{p_text(test["p_holm"]):>8}'
    )
  methods = dict.fromkeys(f'{test["name"]}: {test["method"]}.' for test in tests)
  for sentence in (
    *methods,
    *_notes(tests),
    'Change: Hodges-Lehmann. Effect: rank-biserial. Two-sided; Holm over these rows.',
  ):
    lines += textwrap.wrap(sentence, 79, subsequent_indent='  ', break_long_words=False)
  return lines


def _notes(tests: list[dict[str, Any]], leave_out: tuple[str, ...] = ()) -> list[str]:
  """Each note of the tests once, with its variants, except notes that end in one of `leave_out`."""
  variants_by_note: dict[str, list[str]] = {}
  for test in tests:
    for note in filter(None, test['note'].split('; ')):
      if not note.endswith(leave_out):
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
      'Counted for convolutions, channel weights and the dense layer. Batch norm folds into the '
      'convolution before it.',
    ),
  ):
    rows = []
    for variant, counts in blocks[quantity].items():
      unknown = 'attention' in blocks['parameters'][variant] and 'attention' not in counts
      rows.append(
        [
          variant,
          *(f'{counts[name]:,}' if name in counts else NONE for name in names),
          f'{"> " if unknown else ""}{sum(counts.values()):,}',
        ]
      )
    unknown_note = (
      ("The multiply-adds of a user's own module are not known and not counted.",)
      if any(row[-1].startswith('>') for row in rows)
      else ()
    )
    columns = ('Variant', *names, 'total')
    tables.append(make(f'blocks_{quantity}', caption, columns, rows, (note, *unknown_note)))
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
