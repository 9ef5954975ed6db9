"""The tables of a study: its variants, the tests between them, its blocks. Pure functions on `results.json`
to rows of text, accuracies in per cent. Knows nothing of files, the paper's tables or how a table is set, but in
a terminal.
"""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

NONE = '-'  # a cell that has no value
_BLOCKS = ('stem', 'sfp1', 'sfp2', 'mfp', 'dfp', 'attention', 'head')  # in the order of the network


class Table(NamedTuple):
  """A table of text.

  Attributes:
    name: of its files, without ending.
    caption: one sentence, without a full stop.
    columns: (group, name) each; columns of one group stand under one head, group '' stands alone.
    rows: cells of text; '✓' is a tick.
    notes: sentences below it.
    ours: positions of rows to set apart.
  """

  name: str
  caption: str
  columns: tuple[tuple[str, str], ...]
  rows: list[list[str]]
  notes: tuple[str, ...] = ()
  ours: tuple[int, ...] = ()

  def _repr_markdown_(self) -> str:
    """What a notebook shows."""
    from m3net_jax.reporting import formats  # which imports this module

    return formats.to_markdown(self)


def percent(value: float | None) -> str:
  return NONE if value is None else f'{100 * value:.2f}'


def points(value: float) -> str:
  """A difference of accuracies in points, with its sign."""
  return f'{100 * value:+.2f}'


def interval(ends: list[float] | None, shown=percent) -> str:
  return f'{shown(ends[0])} to {shown(ends[1])}' if ends else NONE


def p_text(p: float | None) -> str:
  if p is None:
    return NONE
  return f'{p:.3f}' if p >= 0.001 else f'{p:.1e}'.replace('e-0', 'e-')


def baseline(results: Mapping[str, Any]) -> str:
  """The variant that the others are compared with, and whose accuracy is the headline."""
  return 'full' if 'full' in results['variants'] else next(iter(results['variants']))


def corpus_title(results: Mapping[str, Any]) -> str:
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
    'Test accuracy at the best validation epoch of each lane. The interval is that of the mean over '
    'lanes (Student t): it speaks about this training on these clips, not about other corpora.',
    'Parameters in the count of Keras, moving statistics of batch norm included; multiply-adds of one '
    'clip.',
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
  """Every test with all that belongs beside its p-value. Differences in points."""
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
  said = _said(tests, leave_out=('differences dropped', 'tied differences', 'tied accuracies'))
  notes = (
    *methods,
    *said,
    'Two-sided. Holm over the rows of this table. Effect size: rank-biserial, positive where the '
    'variant is higher. Difference: Hodges-Lehmann, variant minus what it is tested against. Zeros: '
    'differences of zero. Ties: differences of equal size. Smallest p: what so many lanes can reach at best.',
  )
  return make(name, caption or f'Every variant against {tests[0]["against"]}', columns, rows, notes)


def tests_text(tests: list[dict[str, Any]], wide: int) -> list[str]:
  """The tests for a terminal, the first column `wide`: lines of wide + 63 columns, then what is to be said of them."""
  head = (
    f'{"n":>4}{"change":>8}{"95 % interval":>18}{"statistic":>10}{"effect":>7}{"p":>8}{"Holm":>8}'
  )
  lines = [f'against {tests[0]["against"]}, points:', ' ' * wide + head]
  for test in tests:
    label = test['variant']
    if len(label) >= wide:  # a line of its own
      lines.append(label)
      label = ''
    lines.append(
      f'{label:<{wide}}{test["n"]:>4}{points(test["hodges_lehmann"]):>8}'
      f'{interval(test["hodges_lehmann_ci95"], points):>18}{test["statistic"]:>10g}'
      f'{test["effect_size"]:>+7.2f}{p_text(test["p_value"]):>8}{p_text(test["p_holm"]):>8}'
    )
  methods = dict.fromkeys(f'{test["name"]}: {test["method"]}.' for test in tests)
  for sentence in (
    *methods,
    *_said(tests),
    'Change: Hodges-Lehmann. Effect: rank-biserial. Two-sided; Holm over these rows.',
  ):
    lines += textwrap.wrap(sentence, 79, subsequent_indent='  ', break_long_words=False)
  return lines


def _said(tests: list[dict[str, Any]], leave_out: tuple[str, ...] = ()) -> list[str]:
  """The notes of the tests, each once with the variants that it is of, but those that end in one of `leave_out`."""
  said: dict[str, list[str]] = {}
  for test in tests:
    for part in filter(None, test['note'].split('; ')):
      if not part.endswith(leave_out):
        said.setdefault(part, []).append(test['variant'])
  return [f'{", ".join(variants)}: {part}.' for part, variants in said.items()]


def block_tables(blocks: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[Table]:
  """Parameters and multiply-adds of every block.

  Args:
    blocks: {'parameters' | 'macs': {variant: {block: count}}}.
  """
  # In the order of the network: a later variant may have a block that an earlier one lacks.
  names = sorted(
    {name for counts in blocks['parameters'].values() for name in counts}, key=_BLOCKS.index
  )
  made = []
  for what, caption, note in (
    (
      'parameters',
      'Parameters of every block',
      'In the count of Keras, moving statistics included.',
    ),
    (
      'macs',
      'Multiply-adds of every block for one clip',
      'Of convolutions, channel weights and the dense '
      'layer; batch norm folds into the convolution before it.',
    ),
  ):
    rows = []
    for variant, counts in blocks[what].items():
      unknown = 'attention' in blocks['parameters'][variant] and 'attention' not in counts
      rows.append(
        [
          variant,
          *(f'{counts[name]:,}' if name in counts else NONE for name in names),
          f'{"> " if unknown else ""}{sum(counts.values()):,}',
        ]
      )
    unknown_note = (
      ("Of a module of one's own the multiply-adds are not known.",)
      if any(row[-1].startswith('>') for row in rows)
      else ()
    )
    made.append(
      make(f'blocks_{what}', caption, ('Variant', *names, 'total'), rows, (note, *unknown_note))
    )
  return made


def make(
  name: str,
  caption: str,
  columns: Iterable[str | tuple[str, str]],
  rows: list[list[str]],
  notes: Iterable[str] = (),
  ours: Iterable[int] = (),
) -> Table:
  """A table; a column is (group, name), or its name alone."""
  pairs = tuple(each if isinstance(each, tuple) else ('', each) for each in columns)
  return Table(name, caption, pairs, rows, tuple(notes), tuple(ours))
