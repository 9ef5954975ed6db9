"""Whether converted files compute what was trained: every runtime on the whole test split, against JAX.

Pure functions on logits; their rows are the "runtimes" of export.json.
"""

from typing import Any

import numpy as np
from scipy import stats

from data_prep.errors import UserError

PARITY = 1e-4  # largest difference of a logit of the float32 file from JAX's


def measure(
  runtime: str,
  kind: str,
  logits: np.ndarray,
  reference: np.ndarray,
  labels: np.ndarray,
  classes: tuple[str, ...],
) -> dict[str, Any]:
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
    change[name] = (
      float(right[of_class].mean() - right_before[of_class].mean()) if of_class.any() else None
    )
  return {
    'runtime': runtime,
    'kind': kind,
    'clips': len(labels),
    'correct': int(right.sum()),
    'lost': int((right_before & ~right).sum()),
    'won': int((right & ~right_before).sum()),
    'accuracy': float(right.mean()),
    'agreement': float((logits.argmax(1) == reference.argmax(1)).mean()),
    'largest_logit_difference': float(np.abs(logits - reference).max()),
    'change_by_class': change,
  }


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
      raise UserError(
        f'{where}: a logit differs from JAX by {difference:.3g}, more than {PARITY:g}: the converted '
        'network or its normalisation (mean and std in model.json) is not the trained one'
      )
    drop = trained['accuracy'] - row['accuracy']
    if not drop <= max_drop + 1e-12:
      raise UserError(
        f'{where}: {100 * row["accuracy"]:.2f} % of {row["clips"]} test clips against '
        f'{100 * trained["accuracy"]:.2f} % in JAX, {100 * drop:.2f} points less: more than '
        f'--max_drop={100 * max_drop:g}. {row["lost"]} right answers are lost and {row["won"]} won: '
        f'chance alone does as much {_one_in(row["lost"], row["won"])}. Give a larger --max_drop where '
        'that is often, else other --calibration_clips or another --seed'
      )


def _one_in(lost: int, won: int) -> str:
  """How often as many of the changed answers are lost where each is lost or won with equal chance: the sign test."""
  return f'once in {1 / stats.binomtest(lost, lost + won, alternative="greater").pvalue:.3g} times'


def same_as_study(predicted: np.ndarray, stored: np.ndarray | None, workdir: str) -> None:
  """Raises UserError where a restored lane classifies its test clips [clips] otherwise than when it was trained.

  One clip in a hundred may differ, for the convolutions are computed in another order.
  """
  if stored is None or len(stored) != len(predicted):
    raise UserError(
      f'{workdir}: predictions.npz has no such lane, or other test clips: train the study again'
    )
  if (differing := int((predicted != stored).sum())) > 0.01 * len(predicted):
    raise UserError(
      f'{workdir}: {differing} of {len(predicted)} test clips are classified otherwise than in '
      'predictions.npz: a checkpoint or the store was altered; train the study again'
    )
