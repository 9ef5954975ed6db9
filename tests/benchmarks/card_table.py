"""The results of `tests.benchmarks.accelerator` as text of at most 79 columns."""

import textwrap
from collections.abc import Sequence
from typing import Any

WIDTH = 79


def text(measured: dict[str, Any]) -> str:
  """All sections, one paragraph each, then what failed and what was left out."""
  sections = measured['sections']
  rows = {
    name: [row for row in section['rows'] if 'error' not in row]
    for name, section in sections.items()
  }
  parts = [_device(rows['device'], measured)]
  for name, write in (
    ('equality', _equality),
    ('speed', _speed),
    ('pytorch', lambda own: _pytorch(own, rows['speed'])),
    ('memory', _memory),
    ('resume', _resume),
    ('digits', _digits),
    ('paper', _paper),
  ):
    if rows[name]:
      parts.append(write(rows[name]))
  return '\n\n'.join([*parts, *_missing(sections)])


def _lines(columns: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
  """Lines of a table; `columns` has a width for every column, '<' before it for text."""
  line = lambda cells: ' '.join(f'{cell:{width}}' for cell, width in zip(cells, columns.split()))
  return [line(cells).rstrip() for cells in (head, *rows)]


def _number(value: float | None, form: str) -> str:
  return '-' if value is None else format(value, form)


def _device(rows: list[dict[str, Any]], measured: dict[str, Any]) -> str:
  own = next((row for row in rows if row['name'] == 'device'), None)
  time = f'{measured["seconds"]:.0f} s of {60 * measured["minutes"]:.0f} s'
  if own is None:
    return f'the device is not known; {time}'
  return '\n'.join(
    [
      f'{own["kind"]}, {own["devices"]} devices, jax {own["versions"]["jax"]}; {time}',
      *_lines(
        '<12 >14 >14',
        ('', 'published', 'measured'),
        [
          (
            row['name'],
            *(
              _number(row[each] and row[each] / 1e12, '.3g')
              + (' TB/s' if row['name'] == 'memory' else ' TFLOP/s')
              for each in ('published', 'measured')
            ),
          )
          for row in rows
          if row is not own
        ],
      ),
    ]
  )


def _equality(rows: list[dict[str, Any]]) -> str:
  lines = ['equality with the first lowering in float32 (largest difference, as a part)']
  for row in rows:
    if 'differences' in row:
      largest = max(row['differences'], key=row['differences'].get)
      found = f'{row["differences"][largest]:.1e} ({largest})'
      wrong = f': {", ".join(row["unequal"])}'
    else:
      found, wrong = f'{row["gradient"]:.1e} in a gradient', ''
    verdict = 'equal' if row['equal'] else f'UNEQUAL{wrong}'
    lines.append(f'  {row["name"]:<26}{found:<28}{verdict}')
  return '\n'.join(lines)


def _speed(rows: list[dict[str, Any]]) -> str:
  order = lambda row: (row['input_shape'], row['lanes'], row['precision'], row['seconds'])
  lines = [
    'seconds of a training step of all lanes (~ estimated from fewer lanes), and',
    'lane-steps per second',
  ]
  lines += _lines(
    '<10 >5 <8 <9 >7 >9 >8 >6 >7',
    ('input', 'lanes', 'lowering', 'precision', 'at once', 's', 'steps/s', 'peak', 'MiB'),
    [
      (
        _shape(row),
        row['lanes'],
        row['lowering'],
        row['precision'],
        row['lanes_at_once'],
        ('~' if 'estimated_from' in row else '') + f'{row["seconds"]:.5f}',
        f'{row["lanes"] / row["seconds"]:,.0f}',
        _number(row['share_of_peak'], '.1%'),
        _number(row.get('planned_bytes') and row['planned_bytes'] / 2**20, ',.0f'),
      )
      for row in sorted(rows, key=order)
    ],
  )
  for shape, spread in first_losses(rows).items():
    lines.append(f'{shape}: the first losses differ by at most {spread:.1e} of the largest')
  return '\n'.join(lines)


def first_losses(rows: list[dict[str, Any]]) -> dict[str, float]:
  """How far the losses of the first step of equal lanes lie apart, for each input."""
  losses: dict[str, list[float]] = {}
  for row in rows:
    if 'loss' in row:
      losses.setdefault(_shape(row), []).append(row['loss'])
  return {shape: (max(own) - min(own)) / max(own) for shape, own in losses.items()}


def _pytorch(rows: list[dict[str, Any]], speed: list[dict[str, Any]]) -> str:
  own = rows[0]
  key = lambda row: (_shape(row), row['lanes'], row['precision'])
  fastest: dict[tuple, float] = {}
  for row in speed:
    fastest[key(row)] = min(row['seconds'], fastest.get(key(row), row['seconds']))
  cells = [row for row in rows if 'seconds' in row]
  return '\n'.join(
    [
      f'PyTorch {own.get("version", "")} on {own.get("device", "")}; the ratio is the time of the '
      "engine's",
      'fastest lowering to this one',
      *_lines(
        '<10 >5 <16 <9 >11 >7 >8',
        ('input', 'lanes', 'way', 'precision', 's', 'ratio', 'MiB'),
        [
          (
            _shape(row),
            row['lanes'],
            row['way'],
            row['precision'],
            f'{row["seconds"]:.5f}',
            _number(
              fastest[key(row)] / row['seconds'] if key(row) in fastest else None,
              '.2f',
            ),
            _number(row['used_bytes'] and row['used_bytes'] / 2**20, ',.0f'),
          )
          for row in sorted(
            cells, key=lambda row: (row['input_shape'], row['lanes'], row['seconds'])
          )
        ],
      ),
    ]
  )


def _memory(rows: list[dict[str, Any]]) -> str:
  mib = lambda value: _number(value and value / 2**20, ',.0f')
  return '\n'.join(
    _lines(
      '<52 >12 >12',
      ('memory, MiB', 'planned', 'used'),
      [(row['name'], mib(row['planned_bytes']), mib(row['used_bytes'])) for row in rows],
    )
  )


def _resume(rows: list[dict[str, Any]]) -> str:
  (row,) = rows
  epochs = ', '.join(map(str, row['killed_after_epochs']))
  verdict = 'bit for bit the same study' if row['identical'] else 'ANOTHER STUDY'
  return f'killed after epoch {epochs} and resumed: {verdict} ({row["seconds"]:.0f} s undisturbed)'


def _digits(rows: list[dict[str, Any]]) -> str:
  (row,) = rows
  rest = row['seconds'] - row['features_seconds'] - row['training_seconds']
  kind = 'a store read' if row['from_store'] else 'features'
  return (
    f'the digits, {row["lanes"]} lanes, {row["epochs"]} epochs, {row["lowering"]}: '
    f'{row["seconds"]:.1f} s, accuracy {row["test_accuracy"]:.2%}\n'
    f'  {kind} {row["features_seconds"]:.1f} s, training {row["training_seconds"]:.1f} s, '
    f'start, test and report {rest:.1f} s;\n'
    f'  compiling took {row["compile_seconds"]:.1f} s of these'
  )


def _paper(rows: list[dict[str, Any]]) -> str:
  own = [row for row in rows if 'hours' in row]
  return '\n'.join(
    [
      "the paper's study: 105,829 clips, 100 epochs, lanes as in its rows above",
      *_lines(
        '<34 >10 >10 >10',
        ('', 's a step', 's a batch', 'hours'),
        [
          (
            row['name'],
            f'{row["step_seconds"]:.4f}',
            f'{row["batch_seconds"]:.4f}' + ('' if row['batch_measured'] else '~'),
            f'{row["hours"]:.2f}',
          )
          for row in own
        ],
      ),
    ]
  )


def _missing(sections: dict[str, Any]) -> list[str]:
  """A paragraph of what failed and one of what was left out."""
  failed, left = [], []
  for name, section in sections.items():
    failed += [f'{name}: {section["error"]}'] if 'error' in section else []
    failed += [
      f'{name}, {row["name"]}: {row["error"]}' for row in section['rows'] if 'error' in row
    ]
    left += [f'{name}: {section["skipped"]}'] if 'skipped' in section else []
    left += [f'{name}, {row["name"]}: {row["reason"]}' for row in section['left_out']]
  return [
    '\n'.join([title, *(_wrapped(line) for line in lines)])
    for title, lines in (('failed', failed), ('left out', left))
    if lines
  ]


def _wrapped(line: str) -> str:
  return textwrap.fill(line, WIDTH, initial_indent='  ', subsequent_indent='    ')


def _shape(row: dict[str, Any]) -> str:
  return 'x'.join(map(str, row['input_shape']))
