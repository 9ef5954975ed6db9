"""The runtimes of an export.json as rows of text and a table for a terminal, and its gate.

Pure functions.
"""

import textwrap
from typing import Any


def rows(exported: dict[str, Any]) -> list[dict[str, str]]:
  """One row of text per runtime of an export.json: {column: cell}."""
  files = exported['files']
  cells = []
  for row in exported['runtimes']:
    file = files.get(row['kind']) if row['runtime'] != 'JAX' else None
    worst = min(
      (change for change in row['change_by_class'].values() if change is not None), default=0.0
    )
    cells.append(
      {
        'runtime': row['runtime'],
        'numbers': row['kind'],
        'accuracy (%)': f'{100 * row["accuracy"]:.2f}',
        'agreement (%)': f'{100 * row["agreement"]:.2f}',
        'right answers lost, won': f'{row["lost"]}, {row["won"]}',
        'largest logit change': f'{row["largest_logit_difference"]:.2g}',
        'worst class (points)': f'{100 * worst:+.2f}',
        'file (bytes)': f'{file["bytes"]:,}' if file else '',
        'arena (bytes)': f'{file["arena"]["total"]:,}'
        if file and row['runtime'] == 'TFLite Micro'
        else '',
      }
    )
  return cells


def text(exported: dict[str, Any]) -> str:
  """The table in lines of at most 79 columns."""
  lines = [
    f'{"":<24}{"accuracy":>9}{"agrees":>9}{"logits":>9}{"worst":>8}{"bytes":>9}{"arena":>11}',
    f'{"":<24}{"%":>9}{"%":>9}{"differ":>9}{"class":>8}{"":>9}{"bytes":>11}',
  ]
  for row in rows(exported):
    _, _, accuracy, agreement, _, difference, worst, size, arena = row.values()
    lines.append(
      f'{row["runtime"] + " " + row["numbers"]:<24}{accuracy:>9}{agreement:>9}{difference:>9}'
      f'{worst:>8}{size:>9}{arena:>11}'
    )
  return '\n'.join(lines)


def accepted(exported: dict[str, Any]) -> str:
  """Says on which clips the files were accepted, in lines of at most 79 columns."""
  trained, *converted = exported['gate']['runtimes']
  drop = max(trained['accuracy'] - row['accuracy'] for row in converted)
  return textwrap.fill(
    f'The files were accepted on all {trained["clips"]:,} validation clips (largest drop '
    f'{100 * max(drop, 0.0):.2f} points; allowed: {100 * exported["gate"]["max_drop"]:g}), and the '
    'test split was read once, afterwards, for this table.',
    79,
  )
