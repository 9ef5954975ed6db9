"""Whether converted files compute what was trained: every runtime on the whole test split, against JAX.

Pure functions on logits; the rows they make are the table of export.json, of the report and of the terminal.
"""
from typing import Any

import numpy as np
from scipy import stats

from data_prep.errors import UserError

PARITY = 1e-4  # largest difference of a logit of the float32 file from JAX's


def measure(runtime: str, kind: str, logits: np.ndarray, reference: np.ndarray, labels: np.ndarray,
            classes: tuple[str, ...]) -> dict[str, Any]:
  """One runtime's row.

  Args:
    logits, reference: [clips, classes], of the runtime and of JAX.
    labels: [clips].

  Returns:
    accuracies and agreement (the same class as JAX) as fractions; `lost` and `won`, the clips that only JAX and only
    this runtime classifies rightly; `change_by_class`, the accuracy on each class minus JAX's, None where no test clip
    is of the class.
  """
  right, right_before = (each.argmax(1) == labels for each in (logits, reference))
  change = {}
  for index, name in enumerate(classes):
    of_class = labels == index
    change[name] = float(right[of_class].mean() - right_before[of_class].mean()) if of_class.any() else None
  return {'runtime': runtime, 'kind': kind, 'clips': len(labels), 'correct': int(right.sum()),
          'lost': int((right_before & ~right).sum()), 'won': int((right & ~right_before).sum()),
          'accuracy': float(right.mean()), 'agreement': float((logits.argmax(1) == reference.argmax(1)).mean()),
          'largest_logit_difference': float(np.abs(logits - reference).max()), 'change_by_class': change}


def check(rows: list[dict[str, Any]], max_drop: float) -> None:
  """Raises UserError with the first reason not to trust the converted files.

  Args:
    rows: of `measure`, JAX's first.
    max_drop: how far an integer file may lie below JAX, as a fraction of the clips.
  """
  trained = rows[0]
  for row in rows[1:]:
    where = f'{row["kind"]} in {row["runtime"]}'
    difference = row['largest_logit_difference']
    if row['kind'] == 'float32' and not difference <= PARITY:
      raise UserError(f'{where}: a logit differs from JAX by {difference:.3g}, more than {PARITY:g}: the converted '
                      'network or its normalisation (mean and std in model.json) is not the trained one')
    drop = trained['accuracy'] - row['accuracy']
    if not drop <= max_drop + 1e-12:
      raise UserError(f'{where}: {100 * row["accuracy"]:.2f} % of {row["clips"]} test clips against '
                      f'{100 * trained["accuracy"]:.2f} % in JAX, {100 * drop:.2f} points less: more than '
                      f'--max_drop={100 * max_drop:g}. {row["lost"]} right answers are lost and {row["won"]} won: '
                      f'chance alone does as much {_one_in(row["lost"], row["won"])}. Give a larger --max_drop where '
                      'that is often, else other --calibration_clips or another --seed')


def _one_in(lost: int, won: int) -> str:
  """How often as many of the changed answers are lost where each is lost or won with equal chance: the sign test."""
  return f'once in {1 / stats.binomtest(lost, lost + won, alternative="greater").pvalue:.3g} times'


def same_as_study(predicted: np.ndarray, stored: np.ndarray | None, workdir: str) -> None:
  """Raises UserError where a restored lane classifies its test clips [clips] otherwise than when it was trained.

  One clip in a hundred may differ, for the convolutions are computed in another order.
  """
  if stored is None or len(stored) != len(predicted):
    raise UserError(f'{workdir}: predictions.npz has no such lane, or other test clips: train the study again')
  if (differing := int((predicted != stored).sum())) > 0.01 * len(predicted):
    raise UserError(f'{workdir}: {differing} of {len(predicted)} test clips are classified otherwise than in '
                    'predictions.npz: a checkpoint or the store was altered; train the study again')


def table(exported: dict[str, Any]) -> list[dict[str, str]]:
  """The runtimes of an export.json as rows of text, a column a key, for a terminal or a page."""
  files = exported['files']
  rows = []
  for row in exported['runtimes']:
    file = files.get(row['kind']) if row['runtime'] != 'JAX' else None
    worst = min((change for change in row['change_by_class'].values() if change is not None), default=0.0)
    rows.append({
        'runtime': row['runtime'], 'numbers': row['kind'], 'accuracy (%)': f'{100 * row["accuracy"]:.2f}',
        'agreement (%)': f'{100 * row["agreement"]:.2f}',
        'right answers lost, won': f'{row["lost"]}, {row["won"]}',
        'largest logit change': f'{row["largest_logit_difference"]:.2g}',
        'worst class (points)': f'{100 * worst:+.2f}', 'file (bytes)': f'{file["bytes"]:,}' if file else '',
        'arena (bytes)': f'{file["arena"]["total"]:,}' if file and row['runtime'] == 'TFLite Micro' else ''})
  return rows


def text(exported: dict[str, Any]) -> str:
  """The table in lines of at most 79 columns."""
  lines = [f'{"":<24}{"accuracy":>9}{"agrees":>9}{"logits":>9}{"worst":>8}{"bytes":>9}{"arena":>11}',
           f'{"":<24}{"%":>9}{"%":>9}{"differ":>9}{"class":>8}{"":>9}{"bytes":>11}']
  for row in table(exported):
    _, _, accuracy, agreement, _, difference, worst, size, arena = row.values()
    lines.append(f'{row["runtime"] + " " + row["numbers"]:<24}{accuracy:>9}{agreement:>9}{difference:>9}{worst:>8}'
                 f'{size:>9}{arena:>11}')
  return '\n'.join(lines)
